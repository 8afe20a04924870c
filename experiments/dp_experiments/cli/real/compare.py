"""`dp real compare`: runs arms and compares them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import (
    WORKERS_WITHOUT_GPU,
    AcceptChanges,
    Dask,
    Preset,
    Resources,
    ResumeRuns,
    Set,
    Workers,
    arm_names,
    on_cluster_asked,
    refuse,
)
from dp_experiments.cli.real.remarks import at_limit, judged_twice, too_few
from dp_experiments.comparing.axes import AXIS_LABELS
from dp_experiments.presets.presets import load_preset
from dp_experiments.terminal import answer, progress, records, say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dp_experiments.comparing.compare import Comparison
    from dp_real.config import Config

Tunings = Annotated[
    Path | None,
    typer.Option(
        help="Give each arm its own best settings: the --out of dp real tune, or 'published' for what the "
        "project's own tuning of the preset chose."
    ),
]
Axis = StrEnum("Axis", list(AXIS_LABELS))  # pyrefly: ignore[invalid-argument]
GENERATED = Axis("generated")
NOT_SHOWN = ("kind", "x", "y_low", "y_high")  # columns that only the figure needs


def compare_command(
    preset: Preset,
    settings: Set = [],
    arms: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated. ARM-N: with N samples; ARM@KEY=VALUE: with that setting.  Default: as configured."
        ),
    ] = None,
    tuned: Tunings = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Runs of each arm; arms are paired over them.  Default: as configured."),
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(
            min=1, help="Data splits, each with a generator of its own.  Default: as configured, or one a seed."
        ),
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(min=0, help="The first seed, and the first data split.  Default: 0, or the first after --tuned."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The arm from which differences are taken.  Default: the last.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison.  Default: runs/PRESET-compare.")] = None,
    resume: ResumeRuns = False,
    accept_changes: AcceptChanges = False,
    workers: Workers = None,
    dask: Dask = None,
    resources: Resources = "",
    x: Annotated[Axis, typer.Option(help="What the figure counts.")] = GENERATED,
    as_json: Json = False,
) -> None:
    """Arms are compared in pairs by their test accuracies: the runs of a seed share the data split and the noise.

    What the options leave open is set in the section `compare` of the configuration. Without it the arms are practice
    and static, with 4 seeds.
    """
    refuse(settings, ("seed", "data.split"), "--first, --seeds and --splits say which seeds and splits there are")
    config = load_preset(preset, settings)
    seeds = seeds or config.compare.seeds
    names = list(config.compare.arms) if arms is None else arm_names(arms)
    settle, first = _settings(config, names, preset, settings, tuned, first)
    plan = AskedComparison(
        config=config,
        arms={name: settle(config, name) for name in names},
        settle=settle,
        seeds=seeds,
        splits=splits or config.compare.splits or seeds,
        first=first,
        baseline=baseline or names[-1],
        x=x,
        out=out or Path("runs") / f"{config.name}-compare",
    )
    plan.check()
    where = on_cluster_asked(dask, resources, workers, plan.out)
    plan.tell()
    found = run_and_write(plan, where, resume, accept_changes)
    show(plan, found, as_json)


@dataclass(frozen=True)
class AskedComparison:
    """A comparison, with everything that the options leave open filled in."""

    config: "Config"
    arms: "dict[str, Config]"  # the configuration of each arm by its name
    settle: "Callable[[Config, str], Config]"  # makes a configuration that of an arm
    seeds: int
    splits: int
    first: int
    baseline: str
    x: Axis
    out: Path

    def check(self) -> None:
        """Refuse a baseline that is no arm, and an axis on which an arm has no place."""
        from dp_base.errors import InputError
        from dp_real.config.arms import Arm

        if all(Arm.of(name).run for name in self.arms):
            raise InputError(f"--arms {','.join(self.arms)}: none of them trains on samples: add static, say")
        if self.baseline not in self.arms:
            raise InputError(f"--baseline {self.baseline} is not among --arms {','.join(self.arms)}")
        for name, config in self.arms.items():
            if self.x == "compute" and not config.learner.counted:
                raise InputError(
                    f"--x compute: {name} has a learner whose FLOPs are not counted; count seconds or samples"
                )

    def tell(self) -> None:
        if self.config.generator.trained_here and any(config.practice.draws for config in self.arms.values()):
            count = min(self.splits, self.seeds)
            generators = "one generator is" if count == 1 else f"{count} generators, one a data split, are"
            say(f"{generators} trained here first, unless in the cache")
        remark = judged_twice(self.config)
        if remark:
            say(remark)


def _settings(
    config: "Config", names: list[str], preset: str, settings: list[str], tuned: Path | None, first: int | None
) -> "tuple[Callable[[Config, str], Config], int]":
    """How an arm gets its settings, and the first seed that no trial has seen."""
    from dp_real.config.arms import arm_config
    from dp_real.config.load import key_of

    if tuned is None:
        return arm_config, first or 0
    from dp_experiments.tuning.tuned import PUBLISHED, Tuned

    best = Tuned.published(preset) if str(tuned) == PUBLISHED else Tuned.read(tuned)
    first = best.fresh if first is None else first
    best.check(names, first)
    best.refuse(config, names, map(key_of, settings))
    differing = best.differing(config)
    if differing:
        say(f"{tuned} was tuned with another {', '.join(differing)}")
    for name in names:
        remark = best.remark(name)
        if remark:
            say(remark)
    return best.arm_config, first


@dataclass(frozen=True)
class FinishedComparison:
    """A row for each run, each arm, each arm on each further set, and each exponent."""

    comparison: "Comparison"
    runs: "pd.DataFrame"
    summary: "pd.DataFrame"
    sets: "pd.DataFrame"
    exponents: "pd.DataFrame"


def run_and_write(
    plan: AskedComparison, where: AbstractContextManager[int | None], resume: bool, accept_changes: bool = False
) -> FinishedComparison:
    """Make the runs in the block `where` (`on_cluster_asked`), and write tables and figures."""
    from dp_figures.curves import save, save_narrow

    from dp_experiments.comparing.compare import JOURNAL, Comparison, over_sets, run_arms, summarize
    from dp_experiments.comparing.ratios import exponents
    from dp_experiments.looking.report.pictures import leave_figures_of

    names = list(plan.arms)
    comparison = Comparison(plan.out)
    with claimed(plan.out, JOURNAL, resume):
        with where as workers:
            runs = run_arms(
                plan.config,
                names,
                plan.seeds,
                plan.splits,
                plan.out,
                workers,
                progress,
                plan.first,
                plan.settle,
                accept_changes=accept_changes,
            )
        found = FinishedComparison(
            comparison, runs, summarize(runs, plan.baseline, plan.x), over_sets(runs, plan.baseline), exponents(runs)
        )
        comparison.write(found.runs, found.summary, found.sets, found.exponents)
        save(_figure(found, plan.x), comparison.figure)
        save_narrow(lambda: _figure(found, plan.x), comparison.figure)
        comparison.seal()
        leave_figures_of((run.path for _, run in comparison.runs()), workers or WORKERS_WITHOUT_GPU, progress)
    return found


def _figure(found: FinishedComparison, x: Axis) -> "Figure":
    """Curves, or a ranking of arms that would hide each other, being of equal size."""
    from dp_figures.curves import draw_curves, draw_ranking

    from dp_experiments.comparing.compare import curves

    lines = curves(found.runs, found.summary)
    label = "test accuracy (%), ± 1 s.e. within pairs"
    sizes_differ = found.summary["x"].nunique() == len(found.summary)
    some_arms_are_a_series = lines["series"].nunique() < len(lines)
    if sizes_differ or some_arms_are_a_series:
        return draw_curves(lines, xlabel=AXIS_LABELS[x], ylabel=label, logx=True)
    return draw_ranking(lines, xlabel=label)


def show(plan: AskedComparison, found: FinishedComparison, as_json: bool) -> None:
    """Print the arms, the exponents, the verdict, and which arms did not become what was asked for."""
    from dp_experiments.comparing.verdict import verdict

    tables = {"arms": found.summary, "sets": found.sets, "exponents": found.exponents}
    said = verdict(found.runs, found.summary, len(plan.config.task.classes))
    answer(
        as_json,
        {"preset": plan.config.name, "seeds": plan.seeds, "splits": plan.splits}
        | {name: records(rows) for name, rows in tables.items()}
        | {"verdict": said},
        records(found.summary.drop(columns=list(NOT_SHOWN))),
        records(found.sets),
        records(found.exponents),
        *said,
        f"{plan.out}/comparison.csv, .png, .pdf",
    )
    _tell_too_few(plan, found)
    _tell_limits(found)


def _tell_too_few(plan: AskedComparison, found: FinishedComparison) -> None:
    additions = found.runs.groupby("arm")["additions"].mean()
    for name, made in zip(found.summary["series"], found.summary["kept"], strict=True):
        remark = too_few(made, additions[name], plan.arms[name])
        if remark:
            say(f"{name}: on average {remark}")


def _tell_limits(found: FinishedComparison) -> None:
    ended_at: dict[str, list[str | None]] = {}
    for name, run in found.comparison.runs():
        ended_at.setdefault(name, []).append(at_limit(run))
    for name, ended in ended_at.items():
        remarks = [remark for remark in ended if remark]
        if remarks:
            say(f"{name}: in {len(remarks)} of {len(ended)} runs {remarks[-1]}")
