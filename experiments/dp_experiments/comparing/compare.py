"""Comparisons of arms in pairs: the runs, their statistics, and the folder that holds both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dp_base.checksums import RECORD, json_digest, seal, verify
from dp_base.errors import DamagedError
from dp_base.files import file_name, remove, write_json, write_text
from dp_base.progress import Progress
from dp_base.reading import own_file, read_json
from dp_base.workers import in_parallel
from dp_experiments.comparing.axes import AXIS_LABELS
from dp_experiments.comparing.ratios import by_unit, costs, series_of, worth
from dp_experiments.terminal import aside
from dp_real.config import Config
from dp_real.config.arms import Arm, arm_config
from dp_real.distributed import visible_gpus
from dp_real.runs.prepare import check_plan, check_real_examples, load_generator, own_torch
from dp_real.runs.reader import Run
from dp_real.runs.run import run
from dp_real.shared import Shared, drawers_first, shared_among

JOURNAL = "runs"  # the folder in which runs are kept
RUNS = "runs.csv"
SETS = "sets.csv"  # what the arms reached on further sets, if there are any
FORMATS = ("png", "pdf")  # of the figure
REMEDY = "restore it; or dp real compare with the same options and --resume makes it again, from the runs that it has"


def run_arms(
    config: Config,
    arms: Sequence[str],
    seeds: int,
    splits: int,
    out: Path,
    workers: int | None,
    progress: Progress,
    first: int = 0,
    settle: Callable[[Config, str], Config] = arm_config,
    accept_changes: bool = False,
) -> pd.DataFrame:
    """Run every arm with each seed, in folders below `out`.

    A finished run is not repeated, another one is resumed. The seeds are first + i for i < seeds, each on the data
    split first + (i mod splits), which has its own generator. Arms with the same seed share the split, the initial
    weights and the noise of each row, so that they can be compared in pairs. What they draw alike in their initial
    rounds is drawn once.

    workers: how many runs go on at a time; None: as many as the cluster of the block `on_cluster` takes. settle: turns
    a configuration into that of an arm. accept_changes: go on though data have changed since.

    Returns a row for each run: arm, split, and the content of result.json. Raises as dp_real.run does.
    """
    cells = [(arm, settle(seeded, arm)) for arm in arms for seeded in on_seeds(config, seeds, splits, first)]
    configs = [cell for _, cell in cells]
    _check_arms(config, dict(cells).values(), progress)
    prepare_generators([cell for arm, cell in cells if Arm.of(arm).run is None], workers, progress)
    comparison = Comparison(out)
    folders = [comparison.run_folder(arm, cell.seed) for arm, cell in cells]
    shared = shared_among(configs, comparison.drawn)
    order = drawers_first(configs)
    jobs = [(*cells[index], folders[index], shared[index], accept_changes) for index in order]
    rows: list[dict[str, Any]] = []
    with progress("runs", len(jobs)) as advance:
        for row in in_parallel(workers, _run, jobs, visible_gpus(), name=_name):
            rows.append(row)
            advance(1)
    remove(comparison.drawn)
    return pd.DataFrame(rows, index=order).sort_index()


def _check_arms(config: Config, of_arms: Collection[Config], progress: Progress) -> None:
    """Raise before anything is drawn if an arm cannot be run. of_arms: a configuration of each arm."""
    for plan in of_arms:
        check_plan(plan)
    config.data.prepare(progress)
    for plan in of_arms:
        if plan.practice.real:
            check_real_examples(plan, plan.data.load())


def on_seeds(config: Config, seeds: int, splits: int, first: int = 0) -> list[Config]:
    """The configuration with each of the seeds first + i, i < seeds, on the data split first + (i mod splits)."""
    pairs = [(first + index, first + index % splits) for index in range(seeds)]
    return [
        config.model_copy(update={"seed": seed, "data": config.data.model_copy(update={"split": split})})
        for seed, split in pairs
    ]


def prepare_generators(configs: Iterable[Config], workers: int | None, progress: Progress) -> None:
    """Get the generators of these configurations ready, so that the runs find them in the cache.

    One that is trained here is trained once for each data split. Runs on real examples alone need none. Raises as
    load_generator does.
    """
    distinct: dict[tuple[int | None, str], tuple[Config]] = {}
    for config in configs:
        if config.practice.draws:
            split = config.data.split if config.generator.trained_here else None
            distinct[split, config.generator.model_dump_json()] = (config,)
    with progress("generators", len(distinct)) as advance:
        for _ in in_parallel(workers, _prepare, distinct.values(), visible_gpus(), name=_generator_name):
            advance(1)


def _prepare(config: Config) -> None:
    load_generator(config, progress=aside(_generator_name(config)))


def _generator_name(config: Config) -> str:
    """What the user is told of a generator that is made ready."""
    return f"generator of split {config.data.split}"


def _run(arm: str, config: Config, out: Path, shared: Shared | None, accept_changes: bool) -> dict[str, Any]:
    told = aside(_name(arm, config))
    judge = Arm.of(arm).run
    if judge is not None:
        result = _judged(judge, config, out)
    else:
        resume = out.exists()
        result = run(config, out, resume=resume, accept_changes=accept_changes, progress=told, shared=shared)
    return {"arm": arm, "split": config.data.split} | result


def _judged(judge: Callable[[Config], dict[str, Any]], config: Config, out: Path) -> dict[str, Any]:
    """The result of an arm that does something else than the loop. The folder keeps it for this configuration."""
    kept, asked = out / "result.json", {"config": json_digest(config.model_dump(mode="json"))}
    if kept.exists() and (result := read_json(kept, "remove it"))["inputs"] == asked:
        return result
    with own_torch(config):
        result = judge(config) | {"inputs": asked}
    out.mkdir(parents=True, exist_ok=True)
    write_json(kept, result)
    return result


def _name(arm: str, config: Config, *others: Any) -> str:
    return f"{arm}, seed {config.seed}"


def summarize(runs: pd.DataFrame, baseline: str, x: str = "generated") -> pd.DataFrame:
    """A row for each arm: accuracies in percent, and the paired difference to the baseline.

    The table is tidy (dp_figures.tables). `x` names an axis of `comparing.axes`, which the column x counts; each axis
    also has a column of its own. y is the mean test accuracy, and y_low and y_high are one standard error away, over
    `units` independent units (`comparing.ratios`). With static arms, the columns of ratios.worth follow.
    """
    test = 100 * by_unit(runs, runs["test_accuracy"])
    difference = test.sub(test[baseline], axis=0)
    table = pd.DataFrame({"series": test.columns, "kind": "measured"}, index=test.columns)
    spent = costs(runs)
    for axis in AXIS_LABELS:
        table[axis] = by_unit(runs, spent[axis]).mean()
    table.insert(2, "x", table[x])
    table["y"] = test.mean()
    table["se"] = test.sem()
    table["y_low"] = table["y"] - table["se"]
    table["y_high"] = table["y"] + table["se"]
    table["n_seeds"] = runs["seed"].nunique()
    table["units"] = len(test)
    table["validation"] = 100 * by_unit(runs, runs["val_accuracy"]).mean()
    table[f"{Comparison.MINUS}{baseline}"] = difference.mean()
    table["difference_se"] = difference.sem()
    return table.join(worth(runs, x)).reset_index(drop=True)


def over_sets(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row for each arm and further set: accuracies in percent, and the paired difference.

    Further sets are those of data.sets, and with practice.imbalance the classes of many, medium and few real ones.
    Means and standard errors are over independent units, as in `summarize`. Empty without such sets.
    """
    parts = []
    accuracies = pd.DataFrame([{row["set"]: row["accuracy"] for row in sets} for sets in runs["sets"]], runs.index)
    for name in accuracies:
        of_set = 100 * by_unit(runs, accuracies[name])
        difference = of_set.sub(of_set[baseline], axis=0)
        part = pd.DataFrame({"set": str(name), "series": of_set.columns})
        part["accuracy"] = of_set.mean().to_numpy()
        part["se"] = of_set.sem().to_numpy()
        part[f"{Comparison.MINUS}{baseline}"] = difference.mean().to_numpy()
        part["difference_se"] = difference.sem().to_numpy()
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def curves(runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Turn the table of `summarize` into curves over sizes: arms that differ only in samples become one series.

    A series is named by its arm and by the settings that not all arms have. y_low and y_high are one standard error
    away. That error leaves out what a unit (a split or a seed) does to all arms alike, since only paired differences
    mean something (Cousineau 2005, with the factor of Morey 2008). A single arm keeps its own standard error.
    """
    arms = list(summary["series"])
    table = summary.assign(series=[name.replace("@", "\n") for name in series_of(arms).values()])
    if len(arms) > 1:
        test = 100 * by_unit(runs, runs["test_accuracy"])[arms]
        of_one_unit = test.sub(test.mean(axis=1), axis=0)
        within = (of_one_unit.sem() * (len(arms) / (len(arms) - 1)) ** 0.5).to_numpy()
        table["y_low"] = table["y"] - within
        table["y_high"] = table["y"] + within
    return table


class Comparison:
    """The folder of `dp real compare`. It holds the runs, a figure of the arms, and tables as CSV files."""

    MINUS = "minus_"  # the column of differences is called MINUS and the name of the baseline

    def __init__(self, path: Path) -> None:
        self.path = path

    def run_folder(self, arm: str, seed: int) -> Path:
        """It may not exist."""
        return self.path / JOURNAL / f"{file_name(arm)}-seed{seed}"

    @property
    def drawn(self) -> Path:
        """Where runs keep what they draw alike, until all have ended."""
        return self.path / "drawn"

    @property
    def figure(self) -> Path:
        """The path of the figure of the arms, without its ending."""
        return self.path / "comparison"

    @property
    def exists(self) -> bool:
        return (self.path / "comparison.csv").is_file()

    @property
    def arms(self) -> pd.DataFrame:
        """Raises DamagedError if it is not as it was written."""
        verify(self.path, REMEDY)
        arms = self._read("comparison.csv")
        with own_file(self.path / "comparison.csv", REMEDY):
            if not {"series", "x", "y"} <= set(arms) or not any(str(name).startswith(self.MINUS) for name in arms):
                raise ValueError("columns are missing")
        return arms

    def _read(self, name: str) -> pd.DataFrame:
        verify(self.path, REMEDY, [name])
        with own_file(self.path / name, REMEDY):
            return pd.read_csv(self.path / name)

    @property
    def baseline(self) -> str:
        return next(name for name in map(str, self.arms) if name.startswith(self.MINUS)).removeprefix(self.MINUS)

    def seal(self) -> None:
        """What is in the folder beside the tables and figures is none of its own."""
        names = [
            RUNS,
            SETS,
            "exponents.csv",
            "comparison.csv",
            *(f"comparison.{form}" for form in FORMATS),
            "comparison-narrow.png",
        ]
        seal(self.path, [name for name in names if (self.path / name).exists()])

    @property
    def table(self) -> pd.DataFrame:
        """A row for each run, with the contents of its result.json. Raises DamagedError if it cannot be read."""
        return self._read(RUNS)

    def runs(self) -> Iterator[tuple[str, Run]]:
        """Pairs of arm and run, as in runs.csv, without arms that do something else than the loop.

        Raises DamagedError if it names no run, or one that is missing.
        """
        table = self.table
        with own_file(self.path / RUNS, REMEDY):
            pairs = [(str(arm), int(seed)) for arm, seed in zip(table["arm"], table["seed"], strict=True)]
            pairs = [(arm, seed) for arm, seed in pairs if Arm.of(arm).run is None]
            if not pairs:
                raise ValueError("it has no rows")
        for arm, seed in pairs:
            folder = self.run_folder(arm, seed)
            if not folder.is_dir():
                raise DamagedError(f"{folder} is missing", REMEDY)
            yield arm, Run(folder)

    @property
    def sets(self) -> pd.DataFrame:
        """The table of `over_sets`, empty if there is none. Raises DamagedError if it is not as it was written."""
        return self._read(SETS) if (self.path / SETS).exists() else pd.DataFrame()

    def write(self, runs: pd.DataFrame, arms: pd.DataFrame, sets: pd.DataFrame, exponents: pd.DataFrame) -> None:
        """Each table is written whole or not at all; those of sets and of exponents if they have rows.

        `seal` follows when the figure is there, too.
        """
        remove(self.path / RECORD)
        for name in (SETS, "exponents.csv"):  # they may be left of a comparison of more arms
            remove(self.path / name)
        tables = {
            RUNS: runs.drop(columns=["versions", "inputs", "accepted_changes"], errors="ignore"),
            SETS: sets,
            "exponents.csv": exponents,
            "comparison.csv": arms,
        }
        for name, frame in tables.items():
            if len(frame):
                write_text(self.path / name, frame.to_csv(index=False))
