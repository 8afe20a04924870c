"""`dp real ...`: the full pipeline. torch is imported when a command runs, so that `dp --help` stays quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.cli.real import keep, plan
from experiments.cli.real.look import report_command, sample_command
from experiments.cli.terminal import Json, emit_json, progress, say, table
from experiments.presets.presets import Preset, Set, load_preset

# What transformers and diffusers remark while they load is not for the reader of a run.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_DISABLE", "1")

app = typer.Typer(no_args_is_help=True, help="Train on generated data by deliberate practice.")
app.command("presets")(plan.presets_command)
app.command("plan")(plan.plan_command)
app.command("init")(keep.init_command)
app.command("evaluate")(keep.evaluate_command)
app.command("export")(keep.export_command)
app.command("sample")(sample_command)
app.command("report")(report_command)
app.add_typer(keep.cache_app, name="cache")

Out = Annotated[Path | None, typer.Option(help="The run's folder.  Default: runs/PRESET-SEED.")]


@app.command("run")
def run_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    out: Out = None,
    resume: Annotated[bool, typer.Option(help="Go on with the unfinished run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all random numbers.  Default: the file's, 0.")] = None,
    as_json: Json = False,
) -> None:
    """Train one learner; leaves the run's files in --out."""
    config = load_preset(preset, settings, **({} if seed is None else {"seed": seed}))
    from dp_real import run  # after the configuration is known to be right: it takes seconds
    from dp_real.estimate.needs import require

    out = out or Path("runs") / f"{config.name}-{config.seed}"
    if not resume:
        require(config, out)
    if config.data.note:
        say(f"{config.name}: {config.data.note}")
    _report(run(config, out, resume=resume, progress=progress), out, as_json)


@app.command("resume")
def resume_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an unfinished run.")],
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run; it ends as the unbroken one would have."""
    from dp_real import Run, run

    begun = Run(folder)
    if begun.complete:
        say(f"{folder} is complete already")
    _report(run(begun.config, folder, resume=True, progress=progress), folder, as_json)


@app.command("pretrain")
def pretrain_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (as above)
) -> None:
    """Get a preset's generator ready: trained here, or fetched; a run does the same on first use."""
    from dp_real.runs.prepare import load_generator
    from dp_real.runtime.cache import cache_folder

    config = load_preset(preset, settings)
    load_generator(config, progress=progress)
    say(f"{config.name}: the generator is ready; what was trained here is in {cache_folder()}")


@app.command("branch")
def branch_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, complete or not.")],
    as_json: Json = False,
) -> None:
    """Cool down from each pool size that a run went through: the whole scaling curve from one run."""
    from dp_real.runs.branch import branch

    results = branch(folder, progress)
    if as_json:
        emit_json({"branches": results})
    else:
        shown = ("pool_size", "samples_generated", "test_accuracy", "val_accuracy", "steps")
        table([{key: result[key] for key in shown} for result in results])
    from experiments.report.pictures import leave_figures

    leave_figures(folder)


@app.command("compare")
def compare_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (as above)
    arms: Annotated[str, typer.Option(help="Comma-separated; ARM-N changes the samples to N.")] = "practice,static",
    seeds: Annotated[int, typer.Option(min=1, help="Runs an arm; arms are paired over them.")] = 4,
    splits: Annotated[
        int | None, typer.Option(min=1, help="Data splits, each with a generator.  Default: one a seed.")
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="The first seed, and the first data split.")] = 0,
    baseline: Annotated[
        str | None, typer.Option(help="The arm that differences are taken to.  Default: the last.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: runs/PRESET-compare.")] = None,
    resume: Annotated[bool, typer.Option(help="Keep the finished runs in --out, add what is missing.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 2,
    x: Annotated[Literal["generated", "kept", "compute"], typer.Option(help="What the figure counts.")] = "generated",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run arms on the same seeds and compare their test accuracies in pairs."""
    from dp_base.errors import InputError
    from dp_real.config.arms import arm_config

    config = load_preset(preset, settings)
    names = [name.strip() for name in arms.split(",")]
    for name in names:
        arm_config(config, name)
    if len(set(names)) < len(names):
        raise InputError(f"--arms {arms} names an arm twice")
    baseline = baseline or names[-1]
    if baseline not in names:
        raise InputError(f"--baseline {baseline} is not among --arms {arms}")
    from experiments.compare import AXES, Comparison, run_arms, summarize
    from experiments.report.pictures import leave_figures_of
    from figures.curves import draw_curves, draw_ranking, save

    out = out or Path("runs") / f"{config.name}-compare"
    if out.exists() and not resume:
        raise InputError(f"--out {out} exists; add --resume to keep its finished runs, or name another folder")
    runs = run_arms(config, names, seeds, splits or seeds, out, workers, progress, first)
    summary = summarize(runs, baseline, x)
    comparison = Comparison(out)
    comparison.write(runs, summary)
    if summary["x"].nunique() == len(summary):
        figure = draw_curves(summary, xlabel=AXES[x], ylabel="test accuracy (%)", logx=True)
    else:  # arms of equal size would hide each other
        figure = draw_ranking(summary, xlabel="test accuracy (%)")
    save(figure, comparison.figure)
    leave_figures_of((run.path for _, run in comparison.runs()), workers)
    shown = [str(column) for column in summary if column not in ("kind", "x", "y_low", "y_high")]
    rows = summary.to_dict("records")
    if as_json:
        emit_json({"preset": config.name, "seeds": seeds, "splits": splits or seeds, "arms": rows})
    else:
        table(rows, columns=shown)
        say(f"{out}/comparison.csv, .png, .pdf")


def _report(result: dict, folder: Path, as_json: bool) -> None:
    if as_json:
        emit_json(result)
    else:
        shown = ("test_accuracy", "val_accuracy", "samples_generated", "additions", "steps", "seconds")
        table([{key: result[key] for key in shown}], title=result["name"])
        if result.get("sets"):
            table(result["sets"])
    from experiments.report.pictures import leave_figures

    leave_figures(folder)
