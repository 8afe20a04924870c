"""Stored runs: written from a comparison, and what they say: means, paired differences, worth in static samples.

python -m dp_experiments.studies.stored COMPARISON FILE.csv PRESET [--tuned published]
"""

import sys
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from dp_figures.tables import measured

from dp_base.errors import InputError
from dp_base.files import write_text
from dp_base.reading import read_json
from dp_experiments.compare.equivalent import static_equivalent

FOLDER = Path(__file__).parents[1]  # the files of stored runs lie in folders called runs below it

COLUMNS = {
    "validation": ("val_accuracy", 100),
    "test": ("test_accuracy", 100),
    "generated": ("samples_generated", 1),
    "kept": ("pool_size", 1),
}
"""The columns of a table of runs: the key of result.json, and what that is multiplied by."""


class Difference(NamedTuple):
    """The mean difference of two arms over data splits, in points, with its standard error."""

    mean: float
    se: float
    splits: int

    @property
    def short(self) -> str:
        """Both numbers."""
        sign = "+" if self.mean >= 0 else "−"
        return f"{sign}{abs(self.mean):.2f}" + (f" ± {self.se:.2f}" if self.splits > 1 else " (one split)")

    def __str__(self) -> str:
        return f"{self.short} points ({self.splits} splits)"


class Worth(NamedTuple):
    """How many static samples an arm's mean accuracy is worth."""

    samples: float
    static: float
    bound: str  # "=" within the static sizes that were tried, ">" above their best, "<" below their smallest

    def __str__(self) -> str:
        remark = {"=": "", ">": " (the most that were tried)", "<": " or fewer"}
        return f"{self.samples:,.0f} samples are worth {self.static:,.0f} static ones{remark[self.bound]}"


def store(comparison: Path, file: Path, rerun: str) -> None:
    """Write the runs of a comparison's folder as a table of stored runs, under the versions that made them.

    rerun: the preset, and " --tuned published" if arms had the published settings. Raises InputError for a file that is
    there, and DamagedError for a comparison that is not as it was written.
    """
    from dp_experiments.compare.compare import REMEDY, Comparison  # needs the extra `real`
    from dp_experiments.compare.ratios import costs

    if file.exists():
        raise InputError(f"{file} exists and stays as it is; name another")
    folder = Comparison(comparison)
    runs = folder.read("runs")
    places = [folder.run_folder(arm, seed) for arm, seed in zip(runs["arm"], runs["seed"], strict=True)]
    results = [read_json(place / "result.json", REMEDY) for place in places]
    table = runs[["arm", "split", "seed"]].assign(**{name: runs[key] * times for name, (key, times) in COLUMNS.items()})
    of_sets = [{each["set"]: 100 * each["accuracy"] for each in result.get("sets", [])} for result in results]
    table = table.join(pd.DataFrame(of_sets, runs.index)).assign(tflop=costs(runs)["compute"] / 1e12).round(4)
    made = {" ".join("=".join(version) for version in result.get("versions", {}).items()) for result in results}
    head = f"# made: {'; '.join(sorted(made - {''}))}\n# rerun: {rerun}\n"
    write_text(file, head + table.to_csv(index=False))


def stored_runs(name: str) -> pd.DataFrame:
    """The stored runs of this name, a row each."""
    return pd.read_csv(stored_path(name), comment="#")


def stored_files() -> dict[str, Path]:
    """The file of each name."""
    return {path.stem: path for path in sorted(FOLDER.rglob("runs/*.csv"))}


def stored_path(name: str) -> Path:
    """Raises InputError if there are no runs of this name."""
    files = stored_files()
    if name not in files:
        raise InputError(f"there are no stored runs {name!r}; there are {', '.join(files)}")
    return files[name]


def paired(runs: pd.DataFrame, arm: str, rival: str, column: str = "test") -> Difference:
    """An arm minus its rival on the splits and seeds that both have, one run on each; seeds of a split are no units."""
    both = runs[runs["arm"].isin((arm, rival))]
    by_seed = both.pivot(index=["split", "seed"], columns="arm", values=column)
    difference = (by_seed[arm] - by_seed[rival]).dropna().groupby("split").mean()
    mean, error = difference.agg(["mean", "sem"]).tolist()
    return Difference(mean, error, len(difference))


def worth(runs: pd.DataFrame, arm: str, static: list[str]) -> Worth:
    """Static samples, linear in their logarithm, that reach an arm's mean test accuracy on its splits and seeds."""
    own = runs[runs["arm"] == arm]
    rivals = runs[runs["arm"].isin(static)].merge(own[["split", "seed"]])
    means = rivals.groupby("kept")["test"].mean()
    accuracy = np.array([own["test"].mean()])
    number, bound = static_equivalent(accuracy, means.index.to_numpy(float), means.to_numpy())
    return Worth(float(own["kept"].mean()), float(number[0]), str(bound[0]))


def scaling(runs: pd.DataFrame, arms: dict[str, list[str]], column: str = "test", **groups: str) -> pd.DataFrame:
    """Mean accuracy over samples generated, a curve for each list of arms.

    Bars are one standard error, without what a split does to all arms alike.
    """
    from dp_experiments.compare.ratios import paired_errors  # needs the extra `real`

    by_split = runs[runs["arm"].isin(chain(*arms.values()))].pivot(index="split", columns="arm", values=column)
    errors = paired_errors(by_split)
    samples = runs.groupby("arm")["generated"].first()
    parts = [
        measured(series, samples[names], by_split[names].mean(), errors[names], len(by_split), **groups)
        for series, names in arms.items()
    ]
    return pd.concat(parts, ignore_index=True)


def cost_ratio(runs: pd.DataFrame, arm: str, rival: str, column: str) -> float:
    """What an arm cost over what its rival cost, in their means."""
    mean = runs.groupby("arm")[column].mean()
    return float(mean[arm] / mean[rival])


if __name__ == "__main__":
    store(Path(sys.argv[1]), Path(sys.argv[2]), " ".join(sys.argv[3:]))
