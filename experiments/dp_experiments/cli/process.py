"""Streams, Ctrl-C and garbage from a command's first moment on, so nothing large is imported here."""

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
    """Open closed standard streams onto the null device, lest the next file get their number.

    What stdout's encoding lacks is spelled out: a long command must not fail with its answer.
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
    """Collect no garbage during imports, of which the search takes a tenth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def skip_last_collection() -> None:
    """Freeze all objects, since collecting them takes a tenth of a short command; torch's may need to be collected."""
    if "torch" not in sys.modules:
        gc.freeze()


def stop(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C with a KeyboardInterrupt, or end at once during an import, where C++ libraries would
    std::terminate.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            if os.environ.get("RANK", "0") == "0":
                with contextlib.suppress(OSError):
                    os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
