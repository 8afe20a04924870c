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
from typing import NamedTuple

from dp_base.errors import InputError
from dp_base.files import write_text
from dp_experiments.studies.stored import paired, stored_runs
from dp_experiments.terminal.pages import markdown_table

PLACE = re.compile(r"^<!-- table: (?P<name>\S+) -->\n.*?^<!-- end -->", re.S | re.M)


class ArmsTable(NamedTuple):
    """Arms on the same splits and seeds: means, paired differences with standard errors, and cost."""

    runs: str
    """The name of the stored runs."""
    arms: Mapping[str, str]
    """What the table calls each arm."""
    leads: Sequence[str] = ()
    """Arms that others are subtracted from, a column each."""
    where: str = ""
    """Which of the runs (a query of pandas); empty: all."""
    columns: Mapping[str, str] = MappingProxyType({"test": "test"})
    """The accuracies that are shown, and their headings."""
    cost: str = "tflop"
    by: str = ""
    """A column of the runs: the table has the first accuracy and its standard error for each value, and no cost."""

    def markdown(self) -> str:
        runs = stored_runs(self.runs)
        if self.where:
            runs = runs.query(self.where)
        if self.by:
            tests = runs.groupby(["arm", self.by])[next(iter(self.columns))]
            errors = tests.sem()
            cells = tests.mean().map("{:.2f}".format) + errors.map(" ± {:.2f}".format).where(errors.notna(), "")
            table = cells.unstack(fill_value="")
            heads = ["arm", *(f"{self.by} = {value}" for value in table)]
            return markdown_table(heads, [[label, *table.loc[arm]] for arm, label in self.arms.items()])
        heads = ["arm", "samples", *self.columns.values()]
        heads += [self.cost.upper(), *(f"lead of {self.arms[lead]}" for lead in self.leads)]
        lines = []
        for arm, label in self.arms.items():
            own = runs[runs["arm"] == arm]
            mean = own.mean(numeric_only=True)
            made, kept = round(mean["generated"]), round(mean["kept"])
            cells = [label, f"{kept:,} of {made:,}" if kept < made else f"{made:,}"]
            cells += [f"{mean[column]:.2f}" for column in self.columns]
            cost = mean[self.cost]
            cells.append("" if isnan(cost) else f"{cost:.0f}" if cost >= 25 else f"{cost:.1f}")
            cells += ["" if arm == lead else paired(runs, lead, arm).short for lead in self.leads]
            lines.append(cells)
        return markdown_table(heads, lines)


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
TABLES = {name: ArmsTable(**_TABLES[table.pop("like", name)] | table) for name, table in _TABLES.items()}
"""By the name that a page gives."""


def with_tables(page: str) -> str:
    """A page with each of its tables as the stored runs give it."""
    return PLACE.sub(lambda place: f"<!-- table: {place['name']} -->\n\n{table(place['name'])}\n<!-- end -->", page)


def table(name: str) -> str:
    """The table of this name in Markdown."""
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name].markdown()


def write_docs(docs: Path, claims: str) -> list[Path]:
    """Write the page of claims and all tables of docs and of studies; returns the pages that changed."""
    files = [*docs.rglob("*.md"), *docs.parent.glob("experiments/dp_experiments/studies/*/README.md")]
    pages = {page: with_tables(page.read_text(encoding="utf-8")) for page in sorted(files)}
    pages[docs / "claims.md"] = claims
    changed = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in changed:
        write_text(page, pages[page])
    return changed
