"""`dp claims`: what holds of the paper's claims."""

from pathlib import Path
from typing import Annotated

import typer

from dp_experiments.cli.options import Json
from dp_experiments.terminal import emit_json, table


def claims_command(
    docs: Annotated[
        Path | None, typer.Option(help="Write claims.md and the tables of results into these pages.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Lists each claim of the paper with a verdict: holds, holds partly, not here, or untested.

    What its own tables, the theory and the runs stored here give stands in --json and in the page that --docs writes.
    """
    from dp_experiments.claims.page import rows
    from dp_experiments.claims.result_tables import write_docs

    found = rows()
    written = write_docs(docs, found) if docs else []
    if as_json:
        emit_json({"claims": found})
        return
    table(found, columns=["where", "claim", "verdict", "path", "command"])
    for page in written:
        print(page)
