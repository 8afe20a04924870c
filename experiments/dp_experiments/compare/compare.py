"""Comparisons of arms in pairs: the runs, their statistics, and the folder that holds both."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from dp_figures.curves import draw_curves, draw_ranking, save
from matplotlib.figure import Figure

from dp_base.checksums import RECORD, json_digest, seal, verify
from dp_base.errors import DamagedError, DivergedError, MissingError
from dp_base.files import file_name, remove, write_json, write_text
from dp_base.progress import progress, showing
from dp_base.reading import own_file, read_json
from dp_base.workers import in_parallel
from dp_experiments.compare.ratios import AXIS_LABELS, by_unit, costs, paired_errors, series_of, worth
from dp_experiments.terminal.lines import aside, say
from dp_real.config import Config
from dp_real.config.arms import Arm, arm_config
from dp_real.plan.needs import weights
from dp_real.runs.identity import input_digests
from dp_real.runs.prepare import check_plan, check_real_examples, torch_settings
from dp_real.runs.reader import Run
from dp_real.runs.run import run
from dp_real.runtime.distributed import require_alone, visible_gpus

JOURNAL = "runs"  # the folder in which runs are kept
COMMAND = "command.txt"
MINUS = "minus_"  # the column of differences is called MINUS and the name of the baseline
OMITTED_KEYS = ["versions", "inputs", "accepted_changes"]  # of a run's result.json, in runs.csv
REMEDY = "restore it; or dp real compare with the same options and --resume makes it again, from the runs that it has"


def run_arms(
    config: Config,
    arms: Sequence[str],
    seeds: int,
    splits: int,
    out: Path,
    workers: int | None,
    first: int = 0,
    settle: Callable[[Config, str], Config] = arm_config,
    accept_changes: bool = False,
) -> pd.DataFrame:
    """Run every arm with each seed, in folders below `out`.

    A finished run is not repeated, another one is resumed. The seeds are first + i for i < seeds, each on the data
    split first + (i mod splits), which has its own generator. Arms with the same seed share the split, the initial
    weights and the noise of each row, so that they can be compared in pairs. Initial samples that they
    share are drawn once.

    workers: how many runs go on at a time; None: as many as the cluster of the block `on_cluster` takes. settle: turns
    a configuration into that of an arm. accept_changes: go on though data have changed since.

    Returns a row for each run: arm, split, and the content of result.json. Raises as dp_real.run does, on a run that
    diverged when all others are over: without it, an arm's mean would tell of its lucky seeds alone.
    """
    require_alone("a comparison")
    cells = [(arm, settle(seeded, arm)) for arm in arms for seeded in on_seeds(config, seeds, splits, first)]
    check_arms(dict(cells).values())
    comparison = Comparison(out)
    # Those that generate nothing, and may name an encoder that is of no use to them, come before all that takes long.
    # One worker does all runs of a seed, whose first one makes the generator, then those of the next.
    draws = [Arm.parse(arm).run is None for arm, _ in cells]
    order = sorted(range(len(cells)), key=lambda index: (draws[index], workers == 1 and cells[index][1].seed))
    jobs = [
        (arm, cell, comparison.run_folder(arm, cell.seed), out / "drawn", accept_changes)
        for index in order
        for arm, cell in [cells[index]]
    ]
    n_judged = draws.count(False)
    diverged: list[str] = []
    with progress("runs", len(jobs)) as advance:
        rows = list(in_parallel(workers, run_arm, jobs[:n_judged], visible_gpus()))
        advance(n_judged)
        for row in in_parallel(workers, _row_or_fault, jobs[n_judged:], visible_gpus()):
            if isinstance(row, str):
                say(row)
                diverged.append(row)
            else:
                rows.append(row)
            advance(1)
    if diverged:
        raise DivergedError(
            f"{len(diverged)} of {len(jobs)} runs diverged, and the others are finished: change these arms, or leave "
            f"them out, and --resume; the last: {diverged[-1]}"
        )
    remove(out / "drawn")
    return pd.DataFrame(rows, index=order).sort_index()


def check_arms(of_arms: Collection[Config]) -> None:
    """Raise before anything is drawn if an arm cannot be run. of_arms: a configuration of each arm."""
    for plan in of_arms:
        check_plan(plan)
    if missing := {need.problem for plan in of_arms for need in weights(plan) if need.problem}:
        raise MissingError(*sorted(missing))
    for plan in of_arms:
        if plan.practice.real or plan.data.real_per_class:
            check_real_examples(plan, plan.real_data())


def on_seeds(config: Config, seeds: int, splits: int, first: int = 0) -> list[Config]:
    """The configuration with each of the seeds first + i, i < seeds, on the data split first + (i mod splits)."""
    configs = []
    for index in range(seeds):
        data = config.data.model_copy(update={"split": first + index % splits})
        configs.append(config.model_copy(update={"seed": first + index, "data": data}))
    return configs


def _row_or_fault(*job: Any) -> dict[str, Any] | str:
    """What `run_arm` returns or, of a run that diverged, why. It raises if a generator did, and so no run began."""
    try:
        with showing(aside(f"{job[0]}, seed {job[1].seed}")):
            return run_arm(*job)
    except DivergedError as error:
        if not job[2].exists():
            raise
        return str(error)


def run_arm(
    arm: str,
    config: Config,
    out: Path,
    shared: Path | None = None,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Arm, split and result of one run, which is resumed."""
    judge = Arm.parse(arm).run
    if judge is not None:
        result = _judged(judge, config, out)
    else:
        result = run(config, out, resume=out.exists(), accept_changes=accept_changes, shared=shared)
    return {"arm": arm, "split": config.data.split} | result


def _judged(judge: Callable[[Config], dict[str, Any]], config: Config, out: Path) -> dict[str, Any]:
    """The result of an arm that does something else than the loop. The folder keeps it for these inputs."""
    inputs = {"config": json_digest(config.model_dump(mode="json"))} | input_digests(config, config.real_data())
    file = out / "result.json"
    if file.exists() and (result := read_json(file, "remove it"))["inputs"] == inputs:
        return result
    with torch_settings(config):
        result = judge(config) | {"inputs": inputs}
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, result)
    return result


def summarize(runs: pd.DataFrame, baseline: str, x: str = "generated") -> pd.DataFrame:
    """A row for each arm: accuracies in percent, and the paired difference to the baseline.

    The table is tidy (dp_figures.tables). `x` names an axis of AXIS_LABELS, which the column x counts; each axis
    also has a column of its own. y is the mean test accuracy, and y_low and y_high are one standard error away, over
    `units` independent units (`compare.ratios`). With static arms, the columns of ratios.worth follow.
    """
    test = 100 * by_unit(runs, runs["test_accuracy"])
    table = pd.DataFrame({"series": test.columns, "kind": "measured"}, index=test.columns)
    axes = costs(runs)
    for axis in AXIS_LABELS:
        table[axis] = by_unit(runs, axes[axis]).mean()
    table.insert(2, "x", table[x])
    table["y"] = test.mean()
    table["se"] = test.sem()
    table["y_low"] = table["y"] - table["se"]
    table["y_high"] = table["y"] + table["se"]
    table["n_seeds"] = runs.groupby("arm")["seed"].nunique()
    table["units"] = test.count()
    table["validation"] = 100 * by_unit(runs, runs["val_accuracy"]).mean()
    return table.join(_differences(test, baseline)).join(worth(runs, x)).reset_index(drop=True)


def _differences(of_units: pd.DataFrame, baseline: str) -> pd.DataFrame:
    difference = of_units.sub(of_units[baseline], axis=0)
    return pd.DataFrame({f"{MINUS}{baseline}": difference.mean(), "difference_se": difference.sem()})


def over_sets(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row for each arm and further set: accuracies in percent, and the paired difference.

    Further sets are those of data.sets, and with practice.imbalance the classes of many, medium and few real ones.
    Means and standard errors are over independent units, as in `summarize`. Empty without such sets.
    """
    parts = []
    accuracies = pd.DataFrame([{row["set"]: row["accuracy"] for row in sets} for sets in runs["sets"]], runs.index)
    for name in accuracies:
        of_set = 100 * by_unit(runs, accuracies[name])
        part = pd.DataFrame({"set": str(name), "series": of_set.columns, "accuracy": of_set.mean(), "se": of_set.sem()})
        parts.append(part.join(_differences(of_set, baseline)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def curves(runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Turn the table of `summarize` into curves over sizes: arms that differ only in samples become one series.

    A series is named by its arm and by the settings that not all arms have. y_low and y_high are one standard error
    away. That error leaves out what a unit (a split or a seed) does to all arms alike, since only paired differences
    mean something. A single arm keeps its own standard error.
    """
    arms = list(summary["series"])
    table = summary.assign(series=[name.replace("@", "\n") for name in series_of(arms).values()])
    if len(arms) > 1:
        within = paired_errors(100 * by_unit(runs, runs["test_accuracy"])[arms]).to_numpy()
        table["y_low"] = table["y"] - within
        table["y_high"] = table["y"] + within
    return table


def _figure(lines: pd.DataFrame, xlabel: str) -> Figure:
    """Curves, or a ranking of arms that would hide each other, being of equal size."""
    label = "test accuracy (%), ± 1 s.e." + (" within pairs" if len(lines) > 1 else "")
    if lines["x"].is_unique or not lines["series"].is_unique:
        return draw_curves(lines, xlabel=xlabel, ylabel=label, logx=True)
    return draw_ranking(lines, xlabel=label)


class Comparison:
    """The folder of `dp real compare`. It holds the runs, a figure of the arms, and tables as CSV files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run_folder(self, arm: str, seed: int) -> Path:
        """The folder of a run, which may not exist."""
        return self.path / JOURNAL / f"{file_name(arm)}-seed{seed}"

    @property
    def exists(self) -> bool:
        return (self.path / "comparison.csv").is_file()

    def read(self, name: str) -> pd.DataFrame:
        """A table: comparison, runs, or sets, empty without any. Raises DamagedError for one that is not as written."""
        file = self.path / f"{name}.csv"
        if name == "sets" and not file.exists():
            return pd.DataFrame()
        verify(self.path, REMEDY, [file.name])
        with own_file(file, REMEDY):
            return pd.read_csv(file)

    @property
    def arms(self) -> pd.DataFrame:
        """The table of `summarize`. Raises DamagedError if any file of the folder is not as it was written."""
        verify(self.path, REMEDY)
        return self.read("comparison")

    @property
    def command(self) -> str | None:
        """The command that made the comparison; None for one of an earlier version."""
        file = self.path / COMMAND
        return file.read_text(encoding="utf-8").strip() if file.exists() else None

    def runs(self) -> Iterator[tuple[str, Run]]:
        """Pairs of arm and run, as in runs.csv, without arms that do something else than the loop.

        Raises DamagedError if the file is not as written, or a run is missing.
        """
        table = self.read("runs")
        pairs = [(str(arm), int(seed)) for arm, seed in zip(table["arm"], table["seed"], strict=True)]
        pairs = [(arm, seed) for arm, seed in pairs if Arm.parse(arm).run is None]
        for arm, seed in pairs:
            folder = self.run_folder(arm, seed)
            if not folder.is_dir():
                raise DamagedError(f"{folder} is missing", REMEDY)
            yield arm, Run(folder)

    def write(
        self, runs: pd.DataFrame, baseline: str, x: str = "generated", command: str = ""
    ) -> dict[str, pd.DataFrame]:
        """Write what runs came to: tables, each whole or not at all, the figure, the command, and checksums of all.

        Returns the tables by name: comparison, runs and sets.
        """
        tables = {
            "runs": runs.drop(columns=OMITTED_KEYS, errors="ignore"),
            "sets": over_sets(runs, baseline),
            "comparison": summarize(runs, baseline, x),
        }
        remove(self.path / RECORD)
        for name, table in tables.items():
            remove(self.path / f"{name}.csv")  # of a comparison of more arms, perhaps
            if len(table):
                write_text(self.path / f"{name}.csv", table.to_csv(index=False))
        lines = curves(runs, tables["comparison"]).dropna(subset="x")  # FLOPs of a probe are not counted
        save(_figure(lines, AXIS_LABELS[x]), self.path / "comparison")
        write_text(self.path / COMMAND, f"{command}\n")
        own = [file.name for file in self.path.iterdir() if file.is_file() and file.suffix in (".csv", ".png", ".pdf")]
        seal(self.path, [*sorted(own), COMMAND])
        return tables
