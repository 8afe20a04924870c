"""The claims as rows, and as the page docs/claims.md."""

from collections.abc import Callable

from dp_experiments.claims.claims import CLAIMS, Claim

HEAD = """# Claim by claim

`dp claims --docs docs` writes this page: what follows from the paper's own tables (*recomputed*), from `dp_theory`
(*theory*), and from [our runs](results/index.md) on two cores (*ours*). What rests on ImageNet is *untested*.
*Reproduced* means on the paper's own path, and *replicated* on our own data.
"""


SOURCES = ("recomputed", "theory", "ours")
NOTHING = "-"


def rows() -> list[dict[str, str]]:
    """A row for each claim. Takes some seconds."""
    return [_row(claim) for claim in CLAIMS]


def _row(claim: Claim) -> dict[str, str]:
    row = {"where": claim.where, "claim": claim.says, "verdict": claim.verdict, "path": claim.path}
    for source in SOURCES:
        compute: Callable[[], str] | None = getattr(claim, source)
        row[source] = compute() if compute else NOTHING
    return row | {"command": claim.command, "cost": claim.cost}


def markdown(table: list[dict[str, str]]) -> str:
    """The page: each claim with its verdict, what says so, and the command."""
    lines = [HEAD]
    for number, row in enumerate(table, 1):
        said = [f"{source.capitalize()}: {row[source]}." for source in SOURCES if row[source] != NOTHING]
        path = "" if row["path"] == NOTHING else f", {row['path']}"
        claim = f"**{row['verdict']}**{path}: {row['claim']} ({row['where']}). {' '.join(said)}"
        lines.append(f"{number}. {claim} `{row['command']}` ({row['cost']})")
    return "\n".join(lines) + "\n"
