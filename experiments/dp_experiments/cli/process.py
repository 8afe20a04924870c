"""What holds for the process of a command from its first moment on: streams, Ctrl-C, and garbage.

Nothing large is imported here.
"""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130  # the exit status of an interrupted command
IMPORTING = "<frozen importlib._bootstrap>"  # the file name of Python's import machinery in a stack


def open_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed onto the null device.

    Otherwise the next file that is opened would take their number and get the terminal's output. What stdout's encoding
    does not have is spelled out, as on stderr: a long command must not fail with its answer.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage in the block, for imports: what they make stays, and to search it takes a tenth of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def skip_last_collection() -> None:
    """Spare Python the search for garbage when it ends, which takes a tenth of a short command.

    Torch's objects may have something to do when they end, so with torch it is left alone.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def stop(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C with a KeyboardInterrupt, or end the process at once if a module is being imported.

    Libraries in C++ end in std::terminate if an exception passes through them while they are imported.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            if os.environ.get("RANK", "0") == "0":
                with contextlib.suppress(OSError):
                    os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
