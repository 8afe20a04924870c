"""The `dp` command: joins the sub-commands, and turns errors into one line and an exit status."""

import os
import sys
import traceback
from importlib import metadata
from typing import Annotated

import typer
from typer.core import TyperGroup

from experiments.cli import figures, real, theory
from experiments.terminal import say


class Stopped(Exception):
    """Ctrl-C. typer passes this exception on, while it turns a KeyboardInterrupt into a silent exit."""


class Commands(TyperGroup):
    """A group of sub-commands that raises Stopped on Ctrl-C."""

    def invoke(self, ctx):  # pyright: ignore[reportMissingParameterType]  # typer hides its Context type
        """See TyperGroup. Raises Stopped on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop) or "interrupted") from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Deliberate Practice: theory, the full pipeline, and the paper's figures. Exit status: 0 done; "
                  "2 wrong input; 3 something is missing; 130 interrupted; 1 anything else. "
                  "--debug shows where an error arose.")  # fmt: skip
app.add_typer(theory.app, name="theory")
app.add_typer(real.app, name="real")
app.command("figures")(figures.command)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    """Options of `dp` itself."""
    if show:
        print(metadata.version("deliberate-practice"))
        raise typer.Exit


def main() -> None:
    """Run `dp`. Status: 0 done, 2 wrong input, 3 something is missing, 130 interrupted, 1 anything else.

    If there are several processes, only rank 0 prints. The others print only errors that rank 0 may not have: all
    except wrong input.
    """
    # transformers and diffusers print remarks while they load, which do not concern the user of a run.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
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
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads stdout any more
        status = 0
    except Exception as error:
        # Our errors have `exit_status`. Those of typer's parser have `exit_code`, whichever click it contains.
        status = getattr(error, "exit_status", getattr(error, "exit_code", 1))
        if status != 2:
            sys.stderr = stderr
        if debug:
            traceback.print_exc()
        message = getattr(error, "format_message", error.__str__)()
        if not hasattr(error, "exit_status") and not hasattr(error, "exit_code"):
            message = f"{type(error).__name__}: {message} (--debug shows where)"
        if message:  # it is empty if typer printed the help instead
            say(" ".join(["dp:" if rank == "0" else f"dp: rank {rank}:", *message.split()]))
    sys.exit(status if isinstance(status, int) else 0)
