"""`dp claims`: what holds of the paper's claims."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import Json
from experiments.terminal import emit_json, table


def claims_command(
    page: Annotated[Path | None, typer.Option(help="Write a page with all of it to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Lists each claim of the paper with a verdict: holds, holds partly, not here, or untested.

    What its own tables, the theory and the runs stored here give stands in --json and in --page.
    """
    from dp_base.files import write_text
    from experiments.claims.page import markdown, rows

    found = rows()
    if page:
        write_text(page, markdown(found))
    if as_json:
        emit_json({"claims": found})
        return
    table(found, columns=["where", "claim", "verdict", "path", "command"])
    if page:
        print(page)
