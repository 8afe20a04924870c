"""SIGKILL, SIGTERM and SIGINT at random moments: what was begun goes on, and ends as if nothing had happened."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from torture.attempt import SMALL, Answer, Attempt, Place, end_group, finish, orphans, run_fault

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SWEEP = ("theory", "sweep", "--d", 64, "--n", "32:256:3", "--trials", 64, "--workers", 2)
COMPARE = ("real", "compare", *SMALL, "--arms", "practice,static", "--seeds", 2, "--workers", 2)
TUNE = ("real", "tune", *SMALL, "--trials", 3, "--batch", 2, "--workers", 2)


@dataclass(frozen=True)
class Work:
    """A command that writes into `out`. again: how it goes on. fault: what is wrong with its outcome, or empty."""

    name: str
    words: tuple[object, ...]
    again: Callable[[Path], tuple[object, ...]]
    fault: Callable[[Place, Path], str]


def _same_table(words: tuple[object, ...], name: str) -> Callable[[Place, Path], str]:
    """Compare a CSV file with that of the same command, unbroken."""

    def fault(place: Place, out: Path) -> str:
        unbroken = place.path / f"unbroken-{name}"
        if not unbroken.exists():
            place.dp(*words, "--out", unbroken)
        ours, theirs = (pd.read_csv(folder / name) for folder in (out, unbroken))
        kept = [column for column in map(str, theirs) if "seconds" not in column]
        return "" if ours[kept].equals(theirs[kept]) else f"another {name}"

    return fault


def _exported(place: Place, out: Path) -> str:
    rows = len(pd.read_parquet(out / "train.parquet"))
    return "" if rows == 40 else f"{rows} rows of 40"


def works(place: Place) -> list[Work]:
    """The commands that are killed."""
    export = ("real", "export", place.whole, "--format", "parquet")
    figures = ("figures", "fig5c", "--quick")
    resume = lambda out: ("real", "resume", out)  # noqa: E731
    return [
        Work("run", ("real", "run", *SMALL), resume, run_fault),
        Work("compare", COMPARE, lambda out: (*COMPARE, "--resume", "--out", out),
             _same_table(COMPARE, "comparison.csv")),
        Work("tune", TUNE, lambda out: (*TUNE, "--resume", "--out", out), _same_table(TUNE, "trials.csv")),
        Work("sweep", SWEEP, lambda out: (*SWEEP, "--resume", "--out", out), _same_table(SWEEP, "sweep.csv")),
        Work("export", export, lambda out: (*export, "--out", out), _exported),
        Work("figures", figures, lambda out: (*figures, "--out", out), lambda place, out: ""),
    ]  # fmt: skip


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """`tries` signals, spread over commands and signals. only: the names of the commands, by default all."""
    chosen = [work for work in works(place) if not only or work.name in only]
    lasts: dict[str, float] = {}
    for index in range(tries):
        work, number = chosen[index % len(chosen)], SIGNALS[(index // len(chosen)) % len(SIGNALS)]
        if work.name not in lasts:
            lasts[work.name] = place.dp(*work.words, "--out", place.new("timed")).seconds
        yield _kill(place, work, number, draw.uniform(0.1, lasts[work.name]))


def _kill(place: Place, work: Work, number: signal.Signals, after: float) -> Attempt:
    out = place.new(work.name)
    process = place.start(*work.words, "--out", out)
    time.sleep(after)
    if number == signal.SIGINT:  # a terminal sends it to all processes
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    first, faults = finish(process), []
    if left := orphans(process.pid):
        faults.append(f"{len(left)} processes live on")
        end_group(process.pid)
    if number == signal.SIGINT and (first.status not in (0, 130) or not first.tidy):
        faults.append(f"Ctrl-C ended with {first.status}: {first.last}")
    again = _go_on(place, work, out, first)
    if again.status:
        faults.append(f"does not go on ({again.status}): {again.last}")
    else:
        faults.append(work.fault(place, out))
    fault, saw = "; ".join(filter(None, faults)), f"{first.status} {first.last}"
    return Attempt(f"{number.name} to {work.name}", f"after {after:.2f} s", saw, fault)


def _go_on(place: Place, work: Work, out: Path, first: Answer) -> Answer:
    """Go on with the command, or start it again if it had not begun; nothing if it was done."""
    exported = (out / "train.parquet").exists()  # an export is whole or not there; a run draws after its result
    if exported or (first.status == 0 and out.exists()):
        return place.dp("--version")
    begun = out.exists() and any(not path.name.startswith(".") for path in out.iterdir())
    return place.dp(*(work.again(out) if begun else (*work.words, "--out", out)))
