"""Runs a stored row again, and says whether it matches.

A table of runs says in its head what was run, and with what:

    # made: version 0.2.0, commit …; two cores without a GPU, model unknown; 1 thread
    # rerun: PRESET [--tuned published]
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dp_base.errors import InputError
from dp_experiments.compare.compare import run_arm
from dp_experiments.compare.tune.tuned import Tuned
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.glyphs import few_real
from dp_experiments.studies.stored import COLUMNS, stored_path, stored_runs
from dp_real.config import Config
from dp_real.config.arms import arm_config

MADE = re.compile(r"^# made: (.+)$", re.M)
RERUN = re.compile(r"^# rerun: (?P<preset>[\w-]+)(?P<tuned> --tuned published)?$", re.M)
WRITTEN = 0.0051  # points: accuracies are written with two digits or three
SPREADS = 2 * 2**0.5  # two standard errors of a difference of two runs, in standard deviations of one
MIN_RUNS = 3  # runs of an arm whose standard deviation means anything


class StoredRow(NamedTuple):
    """A row of the stored runs NAME, from 1.

    tests: test accuracies of its arm, less the mean of the other arms' on the same split and seed.
    """

    name: str
    number: int
    row: pd.Series
    tests: pd.Series
    config: Config
    made: str

    @classmethod
    def read(cls, named: str) -> "StoredRow":
        """The row NAME:NUMBER; one that today's program has no words for is refused."""
        name, _, number = named.partition(":")
        runs = stored_runs(name)
        head = stored_path(name).read_text(encoding="utf-8")
        rerun = RERUN.search(head)
        if rerun is None:
            raise InputError(f"--rerun {named}: {name}.csv is no table of runs, which has '# rerun:' in its head")
        if not number.isdecimal() or not 1 <= int(number) <= len(runs):
            raise InputError(f"--rerun {named}: give the number of a row, as {name}:1; there are {len(runs)}")
        row = runs.iloc[int(number) - 1]
        arm = str(row["arm"])
        # Rows whose settings only a sentence in the head of the table gives.
        if " (" in arm or isinstance(row.get("objective"), str) or row.get("settings") == "static-4000":
            raise InputError(f"--rerun {named}: settings of its own, which are no arm: see the head of {name}.csv")
        if "k" in row:
            config = few_real.preset(arm, int(row["k"]), int(row["split"]))
        else:
            config = load_preset(rerun["preset"], [f"data.split={row['split']}"], seed=int(row["seed"]))
            config = (Tuned.published(rerun["preset"]).arm_config if rerun["tuned"] else arm_config)(config, arm)
        made = MADE.search(head)
        return cls(name, int(number), row, _tests(runs, row), config, made[1] if made else "unknown")

    @property
    def spread(self) -> float | None:
        """How far two runs of this arm may lie apart, in points; None: too few runs to tell."""
        return SPREADS * float(self.tests.std()) if len(self.tests) >= MIN_RUNS else None

    def again(self, out: Path) -> dict[str, Any]:
        again = few_real.result_of if "k" in self.row else run_arm
        return self.compared_with(again(str(self.row["arm"]), self.config, out))

    def compared_with(self, result: dict[str, Any]) -> dict[str, Any]:
        now = {column: times * result[key] for column, (key, times) in COLUMNS.items()}
        apart = {column: float(now[column] - self.row[column]) for column in COLUMNS}
        within = self.spread is not None and abs(apart["test"]) <= self.spread
        same = all(abs(difference) <= WRITTEN for difference in apart.values())
        return {
            "row": f"{self.name}:{self.number}",
            "arm": self.row["arm"],
            "stored": {column: float(self.row[column]) for column in COLUMNS},
            "now": now,
            "spread": self.spread,
            "verdict": "the same" if same else "within the spread" if within else "another",
            "matches": same or within,
            "made": self.made,
        }


def _tests(runs: pd.DataFrame, row: pd.Series) -> pd.Series:
    """The other arms are those that have a run wherever this one has."""
    kinds = [column for column in ("stage", "settings", "objective", "k", "arm") if column in runs]
    key = tuple(row[kinds].fillna(""))
    table = runs.fillna({kind: "" for kind in kinds}).pivot_table("test", ["split", "seed"], kinds)
    own = table[key if len(kinds) > 1 else key[0]].dropna()
    others = table.loc[own.index].drop(columns=own.name).dropna(axis=1)
    return own - others.mean(axis=1).fillna(0)
