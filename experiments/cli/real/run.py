"""`dp real run | resume | branch | pretrain`: starts runs, continues them and prepares them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.launch import Gpus, Processes, process_count, run_together
from experiments.cli.options import Json, Preset, Set, default_folder
from experiments.cli.real.remarks import at_limit, too_few
from experiments.presets.presets import load_preset
from experiments.terminal import emit_json, progress, say, table

if TYPE_CHECKING:
    from dp_real.config import Config

Out = Annotated[Path | None, typer.Option(help="The run's folder.  Default: runs/PRESET-SEED.")]


def run_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    out: Out = None,
    resume: Annotated[bool, typer.Option(help="Go on with the unfinished run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all random numbers.  Default: the file's, 0.")] = None,
    gpus: Gpus = "all",
    processes: Processes = 1,
    require_sets: Annotated[bool, typer.Option("--require-sets", help="Stop if a set of data.sets is absent.")] = False,
    as_json: Json = False,
) -> None:
    """Train one learner; leaves the run's files in --out."""
    settings = [*settings, "data.require_sets=true"] if require_sets else settings
    config = load_preset(preset, settings, **({} if seed is None else {"seed": seed}))
    from dp_real import run  # takes seconds, so the configuration is checked first
    from dp_real.estimate.needs import require

    out = out or default_folder(config)
    if not resume:
        require(config, out)
    count = process_count(gpus, processes)
    if count > 1:
        changes = [part for setting in settings for part in ("--set", setting)]
        given = ["--out", str(out), "--seed", str(config.seed), *_flags(resume=resume, json=as_json)]
        raise typer.Exit(run_together(count, "real", "run", preset, *changes, *given))
    if config.data.note:
        say(f"{config.name}: {config.data.note}")
    _report(run(config, out, resume=resume, progress=progress), out, as_json, config)


def resume_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an unfinished run.")],
    gpus: Gpus = "all",
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run; it ends as the unbroken one would have."""
    from dp_real import Run, run

    begun = Run(folder)
    if begun.complete:
        say(f"{folder} is complete already")
    elif (count := process_count(gpus, processes)) > 1:
        raise typer.Exit(run_together(count, "real", "resume", str(folder), *_flags(json=as_json)))
    _report(run(begun.config, folder, resume=True, progress=progress), folder, as_json, begun.config)


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


def branch_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, complete or not.")],
    gpus: Gpus = "all",
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Cool down from each pool size that a run went through: the whole scaling curve from one run."""
    count = process_count(gpus, processes)
    if count > 1:
        raise typer.Exit(run_together(count, "real", "branch", str(folder), *_flags(json=as_json)))
    from dp_real.runs.branch import branch

    results = branch(folder, progress)
    if as_json:
        emit_json({"branches": results})
    else:
        shown = ("pool_size", "samples_generated", "test_accuracy", "val_accuracy", "steps")
        table([{key: result[key] for key in shown} for result in results])
    from experiments.looking.report.pictures import leave_figures

    leave_figures(folder)


def _flags(**given: bool) -> list[str]:
    """The flags that are set, as words of the command line."""
    return [f"--{name}" for name, on in given.items() if on]


def _report(result: dict, folder: Path, as_json: bool, config: "Config") -> None:
    from dp_real import Run

    for remark in (too_few(result["pool_size"], result["additions"], config), at_limit(Run(folder))):
        if remark:
            say(f"{config.name}: {remark}")
    if as_json:
        emit_json(result)
    else:
        shown = ("test_accuracy", "val_accuracy", "samples_generated", "additions", "steps", "seconds")
        table([{key: result[key] for key in shown}], title=result["name"])
        if result.get("sets"):
            table(result["sets"])
    from experiments.looking.report.pictures import leave_figures

    leave_figures(folder)
