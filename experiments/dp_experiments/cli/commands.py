"""The root of `dp`, and how an error becomes one line on stderr and an exit status."""

import contextlib
import errno
import logging
import os
import re
import select
import sys
import traceback
from pathlib import Path
from typing import Annotated, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_command

from dp_base.errors import InputError, MissingError
from dp_base.files import disk_problem
from dp_base.imports import needing
from dp_base.launcher import adopt_tasks, rank
from dp_base.progress import showing
from dp_experiments.cli import real, theory
from dp_experiments.cli.lazy import LazyCommand
from dp_experiments.cli.process import INTERRUPTED
from dp_experiments.terminal.lines import progress, say, visible

NOT_UTF8 = r"[^\s\"']*[\ud800-\udfff][^\s\"']*"
"""A path with bytes that are not UTF-8, which Python keeps as lone surrogates."""


def is_unread() -> bool:
    """Whether stdout is a pipe or socket that nobody reads."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
    except OSError:  # stdout is captured and has no file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Deliberate Practice: its theory, the full pipeline, and figures.\n\n"
    "Exit status: 0 done; 2 wrong input; 3 something is missing; 130 interrupted; 1 anything else. "
    "With --debug an error shows where it arose.",
)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version, with the commit if it is known.", is_eager=True)
    ] = False,
) -> None:
    """Options of `dp` itself."""
    if show:
        from dp_experiments.cli.version import version_line

        print(version_line())
        raise typer.Exit


def make_root() -> TyperGroup:
    """The command `dp` with all its commands."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    group.add_command(theory.GROUP)
    group.add_command(real.GROUP)
    lines = {
        "figures": "Draw figures: the paper's, and our own.",
        "claims": "What holds of the paper's claims?",
        "play": "Write a page of sliders over the theory.",
        "doctor": "Is this machine ready? Is a folder intact?",
    }
    for name, line in lines.items():
        group.add_command(LazyCommand(name, f"dp_experiments.cli.{name}", line))
    return group


root = make_root()


def run() -> int:
    """Run `dp` and return the exit status; ranks but the first print only an error that the first has not."""
    quiet_libraries()
    adopt_tasks()
    if not os.environ.get("COLUMNS", "1").strip("0"):
        del os.environ["COLUMNS"]  # 0 is no width, and rich would print nothing
    stderr = sys.stderr
    if rank():
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    status = 0
    try:
        for argument in arguments:
            argument.encode()  # libraries take paths in UTF-8 only, and some fail late
        root._main_shell_completion({}, "dp")
        with needing("real", "this command"), showing(progress), root.make_context("dp", arguments) as context:
            root.invoke(context)
    except typer.Exit as end:
        status = end.exit_code
    except (KeyboardInterrupt, typer.Abort) as stop:
        say(str(stop) or "interrupted")
        status = INTERRUPTED
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # by which rich answers a broken pipe
            raise
    except Exception as error:
        if not (isinstance(error, BrokenPipeError) and is_unread()):
            status = tell(error, stderr)
    return max(status, finish_streams())


def tell(error: Exception, stderr: TextIO) -> int:
    """Print an error, and return the exit status that it stands for."""
    status, message = explain(error)
    if is_reporter(message):
        sys.stderr = stderr
    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    sender = "dp:" if rank() == 0 else f"dp: rank {rank()}:"
    lines = message.splitlines() if status == MissingError.exit_status else [message]
    for line in filter(None, lines):  # it is empty if typer printed the help instead
        say(f"{sender} {' '.join(line.split())}")
    return status


def quiet_libraries() -> None:
    """Silence what does not concern a user, and progress bars where there is no terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        steps = logging.getLogger("dp_real.steps")
        steps.setLevel(logging.INFO)
        steps.propagate = False
        steps.handlers = [Lines()]
    if logging.lastResort is not None:  # prints what no handler takes
        logging.lastResort.setFormatter(VisibleFormatter())


class Lines(logging.Handler):
    """Prints a logger's lines as remarks, for logs that are read from far away."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


class VisibleFormatter(logging.Formatter):
    """Warnings quote names from foreign files, whose control characters it spells out."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def explain(error: Exception) -> tuple[int, str]:
    """The exit status that an error stands for, and what to say of it."""
    if hasattr(error, "exit_status"):  # an error of this project
        return error.exit_status, str(error).replace("lam_per_row", "lam")  # which is the option
    if hasattr(error, "exit_code"):  # an error of typer's parser
        return error.exit_code, getattr(error, "format_message", error.__str__)()
    if isinstance(error, UnicodeEncodeError) and (named := re.search(NOT_UTF8, error.object)):
        return InputError.exit_status, f"{named[0]!r} is not UTF-8; rename the file or folder"
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        longest = max(Path(str(error.filename)).parts, key=len)
        return InputError.exit_status, f"{longest[:60]}…: {error.strerror}; give a path that can be"
    if isinstance(error, MemoryError):
        return MissingError.exit_status, f"memory ran out: {error or 'no more is given'}; give smaller numbers"
    if problem := disk_problem(error):
        remedy = "make room there, and give the command again (dp real resume, or --resume, where it had begun)"
        return MissingError.exit_status, f"{problem}; {remedy}"
    return 1, f"{type(error).__name__}: {error} (--debug shows where)"


def is_reporter(message: str) -> bool:
    """Whether this process is to print an error; rank 0 is until torch, which takes seconds, is loaded."""
    distributed = sys.modules.get("dp_real.runtime.distributed")
    return rank() == 0 if distributed is None else distributed.is_reporter(message)


def finish_streams() -> int:
    """Flush stdout and stderr; 3, after a line, if stdout's device is full, else 0.

    Python would complain of a stream that cannot be written to, so it is pointed at the null device.
    """
    status = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                say(f"dp: the output cannot be written: {error.strerror}")
                status = MissingError.exit_status
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status
