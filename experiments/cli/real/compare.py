"""`dp real compare`: runs arms and compares them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dp_base.locks import claimed
from experiments.cli.options import Json, Preset, Set, Workers, arm_names, at_a_time, refuse
from experiments.cli.real.remarks import at_limit, judged_twice, too_few
from experiments.comparing.axes import AXIS_LABELS
from experiments.presets.presets import load_preset
from experiments.terminal import emit_json, progress, say, table

Axis = StrEnum("Axis", list(AXIS_LABELS))


def compare_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    arms: Annotated[
        str | None,
        typer.Option(help="Comma-separated; ARM-N: of N samples; ARM@KEY=VALUE: with that setting.  Default: as set."),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            help="What dp real tune left, or 'published': what the project's own tuning of the preset chose. "
            "Each arm gets its own best settings."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Runs an arm; arms are paired over them.  Default: as set.")
    ] = None,
    splits: Annotated[
        int | None, typer.Option(min=1, help="Data splits, each with a generator.  Default: as set, or one a seed.")
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(min=0, help="The first seed, and the first data split.  Default: 0, or the first after --tuned."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The arm that differences are taken to.  Default: the last.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: runs/PRESET-compare.")] = None,
    resume: Annotated[bool, typer.Option(help="Keep the finished runs in --out, add what is missing.")] = False,
    workers: Workers = None,
    x: Annotated[Axis, typer.Option(help="What the figure counts.")] = Axis("generated"),  # noqa: B008 (a constant)
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run arms on the same seeds and compare their test accuracies in pairs.

    What the options leave open is set in the preset's section `compare`; if it has none: practice and static, 4 seeds.
    """
    from dp_base.errors import InputError
    from dp_real.config.arms import arm_config
    from dp_real.config.load import key_of

    refuse(settings, ("seed", "data.split"), "--first, --seeds and --splits say which seeds and splits there are")
    config, settle = load_preset(preset, settings), arm_config
    names = list(config.compare.arms) if arms is None else arm_names(arms)
    seeds = seeds or config.compare.seeds
    splits = splits or config.compare.splits or seeds
    if tuned is not None:
        from experiments.tuning.tuned import PUBLISHED, Tuned

        best = Tuned.published(preset) if str(tuned) == PUBLISHED else Tuned.read(tuned)
        first = best.fresh if first is None else first
        best.check(names, first)
        best.refuse(config, names, map(key_of, settings))
        settle = best.arm_config
        if differing := best.differing(config):
            say(f"{tuned} was tuned with another {', '.join(differing)}")
        for remark in filter(None, map(best.remark, names)):
            say(remark)
    configs = [settle(config, name) for name in names]
    baseline = baseline or names[-1]
    if baseline not in names:
        raise InputError(f"--baseline {baseline} is not among --arms {','.join(names)}")
    for name, of_arm in zip(names, configs, strict=True):
        if x == "compute" and not of_arm.learner.counted:
            raise InputError(f"--x compute: {name} has a learner whose FLOPs are not counted; count seconds or samples")
    from dp_real import Run
    from experiments.comparing.compare import JOURNAL, Comparison, curves, run_arms, summarize
    from experiments.comparing.ratios import exponents
    from experiments.looking.report.pictures import leave_figures_of
    from figures.curves import draw_curves, draw_ranking, save

    out = out or Path("runs") / f"{config.name}-compare"
    if config.generator.trained_here and any(each.practice.draws for each in configs):
        each = (
            "one generator is" if min(splits, seeds) == 1 else f"{min(splits, seeds)} generators, one a data split, are"
        )
        say(f"{each} trained here first, unless in the cache")
    if remark := judged_twice(config):
        say(remark)
    workers = at_a_time(workers)
    with claimed(out, JOURNAL, resume):
        runs = run_arms(config, names, seeds, splits, out, workers, progress, first or 0, settle)
        summary = summarize(runs, baseline, x)
        comparison = Comparison(out)
        slopes = exponents(runs)
        comparison.write(runs, summary, slopes)
        lines, label = curves(runs, summary), "test accuracy (%), ± 1 s.e. of differences"
        if summary["x"].nunique() == len(summary) or lines["series"].nunique() < len(lines):
            figure = draw_curves(lines, xlabel=AXIS_LABELS[x], ylabel=label, logx=True)
        else:  # on an axis, arms of equal size would hide each other
            figure = draw_ranking(lines, xlabel=label)
        save(figure, comparison.figure)
        leave_figures_of((run.path for _, run in comparison.runs()), workers, progress)
    shown = [str(column) for column in summary if column not in ("kind", "x", "y_low", "y_high")]
    rows = summary.to_dict("records")
    if as_json:
        emit_json({"preset": config.name, "seeds": seeds, "splits": splits, "arms": rows,
                   "exponents": slopes.to_dict("records")})  # fmt: skip
    else:
        table(rows, columns=shown)
        if len(slopes):
            table(slopes.to_dict("records"), title="test error ~ n^-exponent, n the samples in the pool")
        say(f"{out}/comparison.csv, .png, .pdf")
    additions = runs.groupby("arm")["additions"].mean()
    for row, of_arm in zip(rows, configs, strict=True):
        if remark := too_few(row["kept"], additions[row["series"]], of_arm):
            say(f"{row['series']}: on average {remark}")
    for arm, of_arm in runs.groupby("arm", sort=False):
        ended = [Run(comparison.run_folder(str(arm), seed)) for seed in of_arm["seed"]]
        if remarks := [remark for run in ended if (remark := at_limit(run))]:
            say(f"{arm}: in {len(remarks)} of {len(ended)} runs {remarks[-1]}")
