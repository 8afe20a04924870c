"""`dp play`: the page to play with."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from typer import Option

from dp_experiments.cli.options import Json
from dp_experiments.terminal.lines import answer


def play_command(
    out: Annotated[Path, Option(help="FILE.html.")] = Path("play.html"),
    as_json: Json = False,
) -> None:
    """The page has sliders over Theorem 1, and practice on a toy. It needs no network, and no other file.

    A browser shows it if the command is given in a terminal, without --json.
    """
    from dp_experiments.terminal.pages import check_page, rendered, write_page

    write_page(check_page(out), rendered("dp_experiments.show.play", "page.html.jinja"))
    answer(as_json, {"out": str(out)}, str(out))
    if not as_json and sys.stdout.isatty():
        webbrowser.open(out.resolve().as_uri())
