"""The tables of pages of results, made from stored runs, a row an arm.

A page has a place for a table, which names it:

    <!-- table: digits -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

import pandas as pd

from dp_base.errors import InputError
from dp_base.files import write_text
from dp_experiments.claims.measured import Difference, paired, stored_runs
from dp_experiments.claims.page import markdown
from dp_experiments.pages import markdown_table

PLACE = re.compile(r"^<!-- table: (?P<name>\S+) -->\n.*?^<!-- end -->", re.S | re.M)


@dataclass(frozen=True)
class ArmsTable:
    """Arms on the same splits and seeds: means, paired differences with standard errors, and cost."""

    runs: str
    """The name of the stored runs."""
    arms: Mapping[str, str]
    """What the table calls each arm."""
    leads: tuple[str, ...]
    """Arms that others are subtracted from, a column each."""
    where: str = ""
    """Which of the runs (a query of pandas); empty: all."""
    columns: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})
    """The accuracies that are shown, and their headings."""
    cost: str = "tflop"

    def markdown(self) -> str:
        runs = stored_runs(self.runs)
        if self.where:
            runs = runs.query(self.where)
        heads = ["arm", "samples", *self.columns.values()]
        heads += [f"{self.arms[lead]} minus it" for lead in self.leads] + [self.cost.upper()]
        lines = []
        for arm, label in self.arms.items():
            mean = runs[runs["arm"] == arm].mean(numeric_only=True)
            made, kept = round(mean["generated"]), round(mean["kept"])
            cells = [label, f"{kept:,} of {made:,}" if kept < made else f"{made:,}"]
            cells += [f"{mean[column]:.2f}" for column in self.columns]
            cells += [_lead(runs, lead, arm) for lead in self.leads]
            cost = mean[self.cost]
            cells.append("" if isnan(cost) else f"{cost:.0f}" if cost >= 25 else f"{cost:.1f}")
            lines.append(cells)
        return markdown_table(heads, lines)


def _lead(runs: pd.DataFrame, lead: str, arm: str) -> str:
    if arm == lead:
        return ""
    difference: Difference = paired(runs, lead, arm)
    sign = "+" if difference.mean >= 0 else "−"
    return f"{sign}{abs(difference.mean):.2f} ± {difference.se:.2f}"


TAIL = {"test": "test", "many": "many", "medium": "medium", "few": "few"}
"""All classes, and those with many, medium and few real images."""
UNADJUSTED = "training.label_smoothing=0.2@training.logit_adjustment=0"
FILLED = f"practice.classes=fill@{UNADJUSTED}"
"""What arms of fashion-tail have in place of logits that are adjusted, and of generated rows of all classes alike."""
TABLES = {
    "digits": ArmsTable(
        runs="digits",
        where="settings != 'static-4000'",
        arms={
            "practice": "practice, 1,000",
            "practice-400": "practice, 400",
            "static-16000": "static, 16,000",
            "static-4000": "static, 4,000",
            "static-2000": "static, 2,000",
            "static": "static, 1,000",
            "static-400": "static, 400",
            "prune-in-loop": "prune in the loop",
            "prune-once": "prune once",
            "covariance": "covariance matching",
            "probe": "a linear probe",
            "practice-unguided": "the loop, unguided",
            "random-direction": "in random directions",
        },
        leads=("practice",),
        cost="gflop",
    ),
    "glyphs": ArmsTable(
        runs="glyphs",
        arms={
            "practice-32000": "practice, 32,000",
            "practice-16000": "practice, 16,000",
            "practice-8000": "practice, 8,000",
            "static-128000": "static, 128,000",
            "static-64000": "static, 64,000",
            "static-32000": "static, 32,000",
            "static-16000": "static, 16,000",
            "static-8000": "static, 8,000",
            "prune-in-loop-8000": "prune in the loop",
            "prune-once-8000": "prune once",
            "practice-unguided-8000": "the loop, unguided",
            "random-direction-8000": "in random directions",
        },
        leads=("practice-32000", "practice-16000", "practice-8000"),
        columns={"test": "test", "handwriting": "handwriting", "display": "display"},
    ),
    "tails": ArmsTable(
        runs="tails",
        where="stage == 'fresh'",
        arms={
            "practice": "practice",
            "practice-unguided": "the loop, unguided",
            "static": "static",
            "static-7500": "static, twice as many",
            "real-1500@training.logit_adjustment=1": "adjusted logits",
            "real-1500@training.balanced_batches=true": "balanced batches",
            "real-1500": "the real images alone",
        },
        leads=("practice",),
        columns=TAIL,
    ),
    "fashion-tail": ArmsTable(
        runs="fashion-tail",
        where="stage == 'fresh'",
        arms={
            "practice": "practice",
            "practice-unguided": "the loop, unguided",
            "random-direction": "in random directions",
            "static": "static",
            "static-7000": "static, twice as many",
            "static@training.logit_adjustment=0": "static, logits as they are",
            f"practice@{FILLED}": "practice, classes filled up",
            f"static@{FILLED}": "static, classes filled up",
            f"static-7000@{FILLED}": "the same, twice as many",
            "real-1000@training.logit_adjustment=1.5": "adjusted logits",
            f"real-1000@{UNADJUSTED}@training.balanced_batches=true": "balanced batches",
            f"real-1000@{UNADJUSTED}": "the real images alone",
        },
        leads=("practice",),
        columns=TAIL,
    ),
    "reviews": ArmsTable(
        runs="reviews",
        where="kept > 0",
        arms={"practice": "practice", "static-900": "static, as many written", "static": "static, as many kept"},
        leads=("practice",),
        columns={"test": "films", "products": "products", "tweets": "tweets", "editorials": "editorials"},
    ),
    "words": ArmsTable(
        runs="words",
        where="kept > 0",
        arms={
            "practice": "practice",
            "static-15840": "static, 15,840",
            "practice-unguided": "practice, unguided: one of the two candidates at random",
            "static": "static",
            "practice@pool.soft_labels=false": "practice, hard labels",
            "static@pool.soft_labels=false": "static, hard labels",
        },
        leads=("practice",),
        cost="gflop",
    ),
    "fashion": ArmsTable(
        runs="fashion",
        arms={
            "practice": "practice, 3,000",
            "static-6000": "static, 6,000",
            "static": "static, 3,000",
            "practice-unguided": "the loop, unguided",
            "random-direction": "in random directions",
        },
        leads=("practice",),
    ),
}


def with_tables(page: str) -> str:
    """A page with each of its tables as the stored runs give it."""
    return PLACE.sub(lambda place: f"<!-- table: {place['name']} -->\n\n{table(place['name'])}\n<!-- end -->", page)


def table(name: str) -> str:
    """The table of this name in Markdown."""
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name].markdown()


def write_docs(docs: Path, claims: list[dict[str, str]]) -> list[Path]:
    """Write the claims and all tables of a folder and of the studies beside it; returns what changed."""
    if not docs.is_dir():
        raise InputError(f"--docs {docs} is no folder; give the folder of the pages, docs in a checkout")
    files = [*docs.rglob("*.md"), *docs.parent.glob("experiments/dp_experiments/studies/*/README.md")]
    pages = {page: with_tables(page.read_text(encoding="utf-8")) for page in sorted(files)}
    pages[docs / "claims.md"] = markdown(claims)
    changed = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in changed:
        write_text(page, pages[page])
    return changed
