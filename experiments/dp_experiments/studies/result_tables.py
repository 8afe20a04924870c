"""The tables of pages of results, made from stored runs, a row an arm.

A page has a place for a table, which names it:

    <!-- table: digits -->
    ...
    <!-- end -->
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dp_base.errors import InputError
from dp_experiments.studies.stored import paired, stored_runs
from dp_experiments.terminal.pages import markdown_table, write_page

PLACE = re.compile(r"^<!-- table: (?P<name>\S+) -->\n.*?^<!-- end -->", re.S | re.M)


TABLES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""By the name that a page gives."""


def arms_table(
    runs: str,
    arms: Mapping[str, str],
    leads: Sequence[str] = (),
    where: str = "",
    columns: Mapping[str, str] = MappingProxyType({"test": "test"}),
    cost: str = "tflop",
    by: str = "",
) -> str:
    """Arms on the same splits and seeds: means, paired differences with standard errors, and cost, in Markdown.

    The arguments are the keys of result_tables.toml.
    """
    table = stored_runs(runs)
    if where:
        table = table.query(where)
    if by:
        tests = table.groupby(["arm", by])[next(iter(columns))]
        errors = tests.sem()
        cells = tests.mean().map("{:.2f}".format) + errors.map(" ± {:.2f}".format).where(errors.notna(), "")
        of_arms = cells.unstack(fill_value="")
        heads = ["arm", *(f"{by} = {value}" for value in of_arms)]
        return markdown_table(heads, [[label, *of_arms.loc[arm]] for arm, label in arms.items()])
    lines = []
    for arm, label in arms.items():
        mean = table[table["arm"] == arm].mean(numeric_only=True)
        made, kept, costs = round(mean["generated"]), round(mean["kept"]), mean[cost]
        cells = [label, f"{kept:,} of {made:,}" if kept < made else f"{made:,}"]
        cells += [f"{mean[column]:.2f}" for column in columns]
        cells.append("" if isnan(costs) else f"{costs:.0f}" if costs >= 25 else f"{costs:.1f}")
        cells += ["" if arm == lead else paired(table, lead, arm).short for lead in leads]
        lines.append(cells)
    heads = ["arm", "samples", *columns.values(), cost.upper(), *(f"lead of {arms[lead]}" for lead in leads)]
    return markdown_table(heads, lines)


def with_tables(page: str) -> str:
    """A page with each of its tables as the stored runs give it."""
    return PLACE.sub(lambda place: f"<!-- table: {place['name']} -->\n\n{table(place['name'])}\n<!-- end -->", page)


def table(name: str) -> str:
    """The table of this name in Markdown."""
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    own = dict(TABLES[name])
    return arms_table(**TABLES[own.pop("like", name)] | own)


def write_docs(docs: Path, claims: str) -> list[Path]:
    """Write the page of claims and all tables of docs and of studies; returns the pages that changed."""
    files = [*docs.rglob("*.md"), *docs.resolve().parent.glob("experiments/dp_experiments/studies/*/README.md")]
    pages = {page: with_tables(page.read_text(encoding="utf-8")) for page in sorted(files)}
    pages[docs / "claims.md"] = claims
    changed = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in changed:
        write_page(page, pages[page])
    return changed
