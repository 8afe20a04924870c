"""`dp claims`: what holds of the paper's claims."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.version import version_line
from dp_experiments.terminal.lines import answer


def claims_command(
    number: Annotated[
        int | None, Argument(min=1, metavar="NUMBER", help="Show this claim alone, with its fields.")
    ] = None,
    docs: Annotated[
        Path | None,
        Option(exists=True, file_okay=False, help="Write claims.md and the tables of results into these pages."),
    ] = None,
    rerun: Annotated[
        str | None,
        Option(metavar="TABLE:ROW", help="Run one stored row again, as digits:1, and say whether it matches."),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder of that run.  Default: runs/TABLE-ROW.")] = None,
    as_json: Json = False,
) -> None:
    """Lists each claim of the paper with a verdict: holds, holds partly, not here, or untested. Then its errata.

    The evidence is from the paper's own tables, the theory, and the runs stored here.
    With --rerun it checks a stored run instead; docs/results/index.md says what is a match. Else the status is 1.
    """
    if [number, docs, rerun].count(None) < 2 or (out and not rerun):
        raise InputError("give one of NUMBER, --docs and --rerun; --out is for --rerun")
    if rerun is not None:
        _run_again(rerun, out, as_json)
        return
    from dp_experiments.paper.claims.claims import CLAIMS, evidence_of, markdown, row_of
    from dp_experiments.paper.claims.errata import errata
    from dp_experiments.studies.result_tables import write_docs

    if number is not None:
        if number > len(CLAIMS):
            raise InputError(f"NUMBER {number}: there are claims 1 to {len(CLAIMS)}")
        row = row_of(CLAIMS[number - 1])
        answer(as_json, row, [{"field": key, "value": value} for key, value in row.items()])
        return
    rows = [row_of(claim) for claim in CLAIMS]
    written = write_docs(docs, markdown(rows)) if docs else []
    wrong = errata()
    shown = [
        {"": place, "where": row["where"], "claim": row["claim"], "verdict": row["verdict"], "found": evidence_of(row)}
        for place, row in enumerate(rows, 1)
    ]
    explained = "errata, with simulated values and their standard errors: docs/errata.md explains each"
    answer(as_json, {"claims": rows, "errata": wrong}, shown, explained, wrong, *map(str, written))


def _run_again(named: str, out: Path | None, as_json: bool) -> None:
    from dp_experiments.studies.rerun import StoredRow

    row = StoredRow.read(named)
    outcome = row.again(out or Path("runs") / f"{row.name}-{row.number}")
    spread = "unknown" if outcome["spread"] is None else f"{outcome['spread']:.2f} points of test accuracy"
    answer(
        as_json,
        outcome,
        [{"row": of, "arm": outcome["arm"]} | outcome[key] for of, key in ((named, "stored"), ("now", "now"))],
        f"{outcome['verdict']} (spread: {spread}); stored: {outcome['made']}; now: {version_line()}",
    )
    if not outcome["matches"]:
        raise Exit(1)
