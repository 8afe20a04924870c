"""`dp real compare`: runs arms and compares them."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import (
    AcceptChanges,
    Dask,
    Preset,
    Set,
    Workers,
    arm_names,
    refuse,
    requested_cluster,
    splits_of,
)
from dp_experiments.cli.real.remarks import judged_twice, missed_aim, too_few
from dp_experiments.presets.presets import load_preset
from dp_experiments.terminal.lines import answer, records, say

if TYPE_CHECKING:
    from dp_real.config import Config

Axis = Literal["generated", "kept", "compute", "seconds"]
NAMED = {"y": "test_accuracy"}  # in percent
NOT_SHOWN = ["kind", "x", "y_low", "y_high"]  # columns that only the figure needs


def compare_command(
    preset: Preset,
    settings: Set = [],
    arms: Annotated[
        str | None,
        Option(
            help="Comma-separated. ARM-N: with N samples; ARM@KEY=VALUE: with that setting.  Default: as configured."
        ),
    ] = None,
    tuned: Annotated[
        Path | None,
        Option(
            help="Give each arm its own best settings: the --out of dp real tune, or 'published' for what the "
            "project's own tuning of the preset chose."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(min=1, max=100_000, help="Runs of each arm; arms are paired over them.  Default: as configured."),
    ] = None,
    splits: Annotated[
        int | None,
        Option(min=1, help="Data splits, each with a generator of its own.  Default: as configured, or one each seed."),
    ] = None,
    first: Annotated[
        int | None,
        Option(min=0, help="The first seed, and the first data split.  Default: 0, or the first after --tuned."),
    ] = None,
    baseline: Annotated[
        str | None, Option(help="The arm from which differences are taken.  Default: the last.")
    ] = None,
    out: Annotated[Path | None, Option(help="Folder of the comparison.  Default: runs/PRESET-compare.")] = None,
    resume: Annotated[
        bool, Option("--resume", help="Keep the finished runs in --out, and add what is missing.")
    ] = False,
    accept_changes: AcceptChanges = False,
    workers: Workers = None,
    dask: Dask = None,
    x: Annotated[Axis, Option(help="What the figure counts.")] = "generated",
    as_json: Json = False,
) -> None:
    """Arms are compared in pairs by their test accuracies: the runs of a seed share the data split and the noise.

    What the options leave open is set in the section `compare` of the configuration. Without it the arms are practice
    and static, with 4 seeds. Before them come what generates nothing: real with data.real_per_class, probe with
    practice.encoder, and finetune with both.
    """
    refuse(settings, ("seed", "data.split"), "--first, --seeds and --splits say which seeds and splits there are")
    config = load_preset(preset, settings)
    seeds = seeds or config.compare.seeds
    splits = splits_of(seeds, splits, config.compare.splits)
    names = default_arms(config) if arms is None else arm_names(arms)
    baseline = baseline or names[-1]
    settle, first = _settled(config, names, preset, settings, tuned, first, seeds)
    settled = {name: settle(config, name) for name in names}
    _check(settled, baseline, x)
    out = out or Path("runs") / f"{config.name}-compare"
    where = requested_cluster(dask, workers)
    from dp_experiments.compare.compare import JOURNAL, Comparison, run_arms
    from dp_experiments.compare.verdict import verdict

    with claimed(out, JOURNAL, resume):
        if config.generator.trained_here and any(of_arm.practice.needs_generator for of_arm in settled.values()):
            say(f"the generator of each data split ({splits}) is trained here, unless it is in the cache")
        if remark := judged_twice(config):
            say(remark)
        with where as at_a_time:
            runs = run_arms(config, names, seeds, splits, out, at_a_time, first, settle, accept_changes)
        tables = Comparison(out).write(runs, baseline, x, shlex.join(["dp", *sys.argv[1:]]))
    summary, rows = tables["comparison"], {name: records(table) for name, table in tables.items()}
    sentences = verdict(runs, summary, len(config.task.classes))
    answer(
        as_json,
        {"preset": config.name, "seeds": seeds, "splits": splits, "arms": rows["comparison"]}
        | {"sets": rows["sets"], "verdict": sentences},
        records(summary.drop(columns=NOT_SHOWN).rename(columns=NAMED)),
        rows["sets"],
        *sentences,
        f"{out}/comparison.csv, .png, .pdf",
    )
    for name, of_arm in runs.groupby("arm", sort=False):
        remark = too_few(of_arm["additions"].mean(), settled[str(name)])
        if remark:
            say(f"{name}: on average {remark}")
    limits: dict[str, list[str | None]] = {}
    for name, run in Comparison(out).runs():
        limits.setdefault(name, []).append(missed_aim(run))
    for name, of_runs in limits.items():
        if remarks := [remark for remark in of_runs if remark]:
            which = ", in the last of them" if len(remarks) > 1 else ""
            say(f"{name}: in {len(remarks)} of {len(of_runs)} runs{which}: {remarks[-1]}")


def default_arms(config: "Config") -> list[str]:
    """The section's arms; unless it names them, after those that generate nothing where the data allow these."""
    few, encoder = config.data.real_per_class > 0, config.practice.encoder is not None
    allowed = {"real": few, "finetune": few and encoder, "probe": encoder}
    named = "arms" in config.compare.model_fields_set
    return [*([] if named else [arm for arm, here in allowed.items() if here]), *config.compare.arms]


def _settled(
    config: "Config",
    names: list[str],
    preset: str,
    settings: list[str],
    tuned: Path | None,
    first: int | None,
    seeds: int,
) -> "tuple[Callable[[Config, str], Config], int]":
    """How an arm gets its settings, and the first seed that no trial has seen."""
    from dp_real.config.arms import arm_config
    from dp_real.config.load import key_of

    if tuned is None:
        return arm_config, first or 0
    from dp_experiments.compare.tune.tuned import PUBLISHED, Tuned

    best = Tuned.published(preset) if str(tuned) == PUBLISHED else Tuned.read(tuned)
    first = best.fresh if first is None else first
    best.check(names, range(first, first + seeds))
    best.refuse(config, names, map(key_of, settings))
    differing = best.differing(config)
    for remark in (
        f"{tuned} was tuned with another {', '.join(differing)}" if differing else "",
        *map(best.remark, names),
    ):
        if remark:
            say(remark)
    return best.arm_config, first


def _check(settled: "dict[str, Config]", baseline: str, x: Axis) -> None:
    """Refuse a baseline that is no arm, and an axis on which an arm has no place."""
    from dp_real.config.arms import Arm

    if all(Arm.parse(name).run for name in settled):
        raise InputError(f"--arms {','.join(settled)}: none of them trains on samples: add static, say")
    if baseline not in settled:
        raise InputError(f"--baseline {baseline} is not among --arms {','.join(settled)}")
    for name, config in settled.items():
        if x == "compute" and not config.learner.counted:
            raise InputError(f"--x compute: {name} has a learner whose FLOPs are not counted; count seconds or samples")
