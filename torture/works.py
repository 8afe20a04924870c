"""The commands that are attacked: how each begins, goes on and is judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from torture.attempt import COMPARE, POOL_ROWS, SMALL, Place, run_fault

Words = tuple[object, ...]
"""The words of a command line that follow `dp`."""
Fault = Callable[[Place, Path], str]
"""Says what is wrong with what a command left in a folder; empty if nothing is."""

TUNE: Words = ("real", "tune", *SMALL, "--trials", 3, "--batch", 2, "--workers", 2)


@dataclass(frozen=True)
class Work:
    """A command with --out; `fault` judges what it left."""

    name: str
    words: Words
    fault: Fault
    resumes: bool = True  # by --resume; else the same words go on

    def into(self, out: Path) -> Words:
        return *self.words, "--out", out

    def again(self, out: Path) -> Words:
        return *self.into(out), *(["--resume"] if self.resumes else [])


def works(place: Place) -> dict[str, Work]:
    """The works by name; one exports the place's complete run, which is made."""
    every = (
        Work("run", ("real", "run", *SMALL), run_fault),
        Work("compare", COMPARE, _table_fault(COMPARE, "comparison.csv")),
        Work("tune", TUNE, _table_fault(TUNE, "trials.csv")),
        Work("export", ("real", "export", place.whole, "--format", "parquet"), _export_fault, resumes=False),
        Work("figures", ("figures", "fig5c", "--quick"), lambda place, out: "", resumes=False),
    )
    return {work.name: work for work in every}


def chosen_works(place: Place, only: Iterable[str]) -> list[Work]:
    """The works of these names; all if there are none."""
    names = set(only)
    return [work for work in works(place).values() if not names or work.name in names]


def _table_fault(words: Words, result: str) -> Fault:
    def fault(place: Place, out: Path) -> str:
        unbroken = place.path / f"unbroken-{result}"
        if not unbroken.exists():
            place.dp(*words, "--out", unbroken)
        return "" if _rows(out / result) == _rows(unbroken / result) else f"another {result}"

    return fault


def _rows(file: Path) -> object:
    table = pd.read_csv(file, keep_default_na=False)
    return table[[column for column in map(str, table) if "seconds" not in column]].to_dict("records")


def _export_fault(place: Place, out: Path) -> str:
    rows = len(pd.read_parquet(out / "train.parquet"))
    return "" if rows == POOL_ROWS else f"{rows} rows of {POOL_ROWS}"
