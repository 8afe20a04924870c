"""The sub-commands of `dp`, joined, and how an error becomes one line and an exit status."""

import contextlib
import errno
import os
import select
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated

import typer
from typer.core import TyperGroup

from dp_base.errors import InputError, MissingError
from dp_base.files import disk_problem
from dp_real.runtime.slurm import adopt_tasks
from experiments.cli import doctor, figures, real, theory
from experiments.cli.version import version_line
from experiments.terminal import say


class Stopped(Exception):
    """Ctrl-C. typer passes this exception on, while it turns a KeyboardInterrupt into a silent exit."""


class Unread(Exception):
    """Nobody reads stdout any more. typer passes this exception on, while it turns a BrokenPipeError into status 1."""


class Commands(TyperGroup):
    """A group of sub-commands that raises Stopped on Ctrl-C, and Unread if the reader of stdout has gone."""

    def make_context(self, *arguments, **options):  # pyright: ignore  # typer hides its Context type
        """See TyperGroup. It also prints the help. Raises Stopped and Unread."""
        with passed_on():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx):  # pyright: ignore[reportMissingParameterType]  # typer hides its Context type
        """See TyperGroup. Raises Stopped and Unread."""
        with passed_on():
            return super().invoke(ctx)


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Raise Stopped or Unread in place of what typer would not pass on.

    Raises InputError for a path that cannot be, MissingError for a disk that is full or read-only.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(str(stop) or "interrupted") from None
    except BrokenPipeError as error:
        raise (Unread() if unread() else RuntimeError(f"a process has ended: {error}")) from error
    except SystemExit as end:  # this is how rich answers a broken pipe
        raise (Unread() if isinstance(end.__context__, BrokenPipeError) else end) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"{str(error.filename)[:60]}…: {error.strerror}; give a path that can be") from None
        problem = disk_problem(error)
        if hasattr(error, "exit_status") or not problem:
            raise
        remedy = "make room there, and give the command again (dp real resume, or --resume, where it had begun)"
        raise MissingError(f"{problem}; {remedy}") from error


def unread() -> bool:
    """Whether stdout is a pipe or socket that nobody reads."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
    except OSError:  # it is no file, but captured
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Deliberate Practice: theory, the full pipeline, and the paper's figures. Exit status: 0 done; "
                  "2 wrong input; 3 something is missing; 130 interrupted; 1 anything else. "
                  "--debug shows where an error arose.")  # fmt: skip
app.add_typer(theory.app, name="theory")
app.add_typer(real.app, name="real")
app.command("figures")(figures.command)
app.command("doctor")(doctor.command)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[
        bool,
        typer.Option("--version", help="Print the version, and the commit if it is known, and leave.", is_eager=True),
    ] = False,
) -> None:
    """Options of `dp` itself."""
    if show:
        print(version_line())
        raise typer.Exit


def run() -> int:
    """Run `dp` on the arguments of this process, and return its status; see main.

    If there are several processes, only rank 0 prints, and of the others one with an error that rank 0 does not have.
    """
    # transformers and diffusers print remarks while they load, which do not concern the user of a run.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    adopt_tasks()
    rank, stderr = os.environ.get("RANK", "0"), sys.stderr
    if rank != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        status = app(args=arguments, prog_name="dp", standalone_mode=False)
    except (Stopped, KeyboardInterrupt, typer.Abort) as stop:
        say(str(stop) or "interrupted")
        status = 130
    except Unread:
        status = 0
    except Exception as error:
        # Our errors have `exit_status`. Those of typer's parser have `exit_code`, whichever click it contains.
        status = getattr(error, "exit_status", getattr(error, "exit_code", 1))
        message = getattr(error, "format_message", error.__str__)()
        if not hasattr(error, "exit_status") and not hasattr(error, "exit_code"):
            message = f"{type(error).__name__}: {message} (--debug shows where)"
        if _is_reporter(rank, message):
            sys.stderr = stderr
        if debug:
            traceback.print_exc()
        if message:  # it is empty if typer printed the help instead
            say(" ".join(["dp:" if rank == "0" else f"dp: rank {rank}:", *message.split()]))
    return max(status if isinstance(status, int) else 0, finish_streams())


def _is_reporter(rank: str, message: str) -> bool:
    """Whether this process is to print an error. Without torch, which loads for seconds, there are no others yet."""
    started = sys.modules.get("dp_real.runtime.processes")
    return started.is_reporter(message) if started else rank == "0"


def finish_streams() -> int:
    """Write out what stdout and stderr still hold. Returns 3, after a line, if stdout's device is full, else 0.

    A stream that cannot be written to is pointed at nothing, so that Python does not complain of it when it ends.
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
