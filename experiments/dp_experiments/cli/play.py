"""`dp play`: the page to play with."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from dp_experiments.cli.options import Json
from dp_experiments.terminal import emit_json, say


def play_command(
    out: Annotated[Path, typer.Option(help="FILE.html.")] = Path("play.html"),
    show: Annotated[
        bool, typer.Option("--open/--no-open", help="Show it in a browser, if the command is given in a terminal.")
    ] = True,
    as_json: Json = False,
) -> None:
    """The page has sliders over Theorem 1, and practice on a toy. It needs no network, and no other file."""
    from dp_base.errors import InputError
    from dp_base.files import write_text
    from dp_experiments.playing.page import page

    if out.suffix != ".html":
        raise InputError(f"--out {out}: it is a page; name it FILE.html")
    try:
        write_text(out, page())
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from None
    if as_json:
        emit_json({"out": str(out)})
        return
    say(str(out))
    if show and sys.stdout.isatty():
        webbrowser.open(out.resolve().as_uri())
