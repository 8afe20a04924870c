"""The commands that are attacked: how each begins, goes on and is judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from torture.attempt import POOL_ROWS, SMALL, Place, run_fault

Words = tuple[object, ...]
"""The words of a command line that follow `dp`."""
Fault = Callable[[Place, Path], str]
"""Says what is wrong with what a command left in a folder; empty if nothing is."""

COMPARE: Words = ("real", "compare", *SMALL, "--arms", "practice,static", "--seeds", 2, "--workers", 2)
TUNE: Words = ("real", "tune", *SMALL, "--trials", 3, "--batch", 2, "--workers", 2)


@dataclass(frozen=True)
class Work:
    """A command with --out: `words` start it, `again(out)` go on, `fault` judges what it left."""

    name: str
    words: Words
    again: Callable[[Path], Words]
    fault: Fault

    def into(self, out: Path) -> Words:
        return *self.words, "--out", out


def works(place: Place) -> dict[str, Work]:
    """The works by name; one exports the place's complete run, which is made."""
    export: Words = ("real", "export", place.whole, "--format", "parquet")
    figures: Words = ("figures", "fig5c", "--quick")
    every = (
        Work("run", ("real", "run", *SMALL), lambda out: ("real", "resume", out), run_fault),
        _with_resume("compare", COMPARE, "comparison.csv", _rows),
        _with_resume("tune", TUNE, "trials.csv", _rows),
        Work("export", export, lambda out: (*export, "--out", out), _export_fault),
        Work("figures", figures, lambda out: (*figures, "--out", out), lambda place, out: ""),
    )
    return {work.name: work for work in every}


def chosen_works(place: Place, only: Iterable[str]) -> list[Work]:
    """The works of these names; all if there are none."""
    names = set(only)
    return [work for work in works(place).values() if not names or work.name in names]


def _with_resume(name: str, words: Words, result: str, content: Callable[[Path], object]) -> Work:
    def fault(place: Place, out: Path) -> str:
        unbroken = place.path / f"unbroken-{result}"
        if not unbroken.exists():
            place.dp(*words, "--out", unbroken)
        return "" if content(out / result) == content(unbroken / result) else f"another {result}"

    return Work(name, words, lambda out: (*words, "--resume", "--out", out), fault)


def _rows(file: Path) -> object:
    table = pd.read_csv(file, keep_default_na=False)
    return table[[column for column in map(str, table) if "seconds" not in column]].to_dict("records")


def _export_fault(place: Place, out: Path) -> str:
    rows = len(pd.read_parquet(out / "train.parquet"))
    return "" if rows == POOL_ROWS else f"{rows} rows of {POOL_ROWS}"
