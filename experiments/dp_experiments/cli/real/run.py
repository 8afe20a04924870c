"""`dp real run | resume | branch`: starts runs and continues them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from dp_experiments.cli import launch
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, Dask, Preset, Set, default_folder, requested_cluster
from dp_experiments.cli.real.remarks import missed_aim, too_few
from dp_experiments.presets.presets import load_preset, set_options
from dp_experiments.terminal.lines import answer, say

if TYPE_CHECKING:
    from dp_real.config import Config

SHOWN_OF_RUN = ("test_accuracy", "val_accuracy", "samples_generated", "additions", "steps", "seconds")
SHOWN_OF_BRANCH = ("pool_size", "samples_generated", "test_accuracy", "val_accuracy", "steps")


def run_command(
    preset: Preset,
    settings: Set = [],
    out: Annotated[Path | None, Option(help="The run's folder.  Default: runs/PRESET-SEED.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the unfinished run in --out.")] = False,
    seed: Annotated[
        int | None, Option(min=0, help="Seed of all random numbers.  Default: the configuration's, 0.")
    ] = None,
    quick: Annotated[bool, Option("--quick", help="Every part once, in about a minute; it measures nothing.")] = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """The run's files are left in --out."""
    settings = [*settings, *(["quick=true"] if quick else [])]
    config = load_preset(preset, settings, **({} if seed is None else {"seed": seed}))
    from dp_real import run  # takes seconds, so the configuration is checked first
    from dp_real.plan.needs import require

    out = out or default_folder(config)
    if not resume:
        require(config, out)
    count = launch.process_count()
    if count > 1:
        given = ["--out", str(out), "--seed", str(config.seed), *_options(settings, accept_changes, as_json)]
        again = ["--resume"] if resume else []
        raise Exit(launch.run_and_restart(count, out, "real", "run", preset, *given, *again))
    if config.data.note:
        say(f"{config.name}: {config.data.note}")
    result = run(config, out, resume=resume, accept_changes=accept_changes)
    _show(result, out, as_json, config)


def resume_command(
    folder: Annotated[Path, Argument(metavar="RUN", help="The folder of an unfinished run.")],
    settings: Annotated[
        list[str],
        Option("--set", metavar="KEY=VALUE", help="Change a key that no sample depends on, as generator.token_budget."),
    ] = [],
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """The run ends as it would have ended without the break."""
    from dp_real import Run, run
    from dp_real.config import load_config

    begun = Run(folder)
    config = load_config(begun.files.config, settings) if settings else begun.config
    if begun.complete:
        say(f"{folder} is complete already")
    elif (count := launch.process_count()) > 1:
        words = "real", "resume", str(folder), *_options(settings, accept_changes, as_json)
        raise Exit(launch.run_and_restart(count, folder, *words))
    result = run(config, folder, resume=True, accept_changes=accept_changes)
    _show(result, folder, as_json, begun.config)


def branch_command(
    folder: Annotated[Path, Argument(metavar="RUN", help="The folder of a run, complete or not.")],
    dask: Dask = None,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """A short run cools down from each pool size that the run went through, which gives the accuracy at that size."""
    where = requested_cluster(dask, 1 if dask is None else None)
    count = 1 if dask is not None else launch.process_count()
    if count > 1:
        words = "real", "branch", str(folder), *_options([], accept_changes, as_json)
        raise Exit(launch.run_together(count, *words))
    from dp_real.runs.branch import branch

    with where as at_a_time:
        results = branch(folder, at_a_time, accept_changes)
    answer(as_json, {"branches": results}, [_shown(result, SHOWN_OF_BRANCH) for result in results])


def _shown(result: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """These keys, accuracies in percent."""
    shares = [key for key in keys if key.endswith("accuracy") and result[key] is not None]
    return {key: result[key] * 100 if key in shares else result[key] for key in keys}


def _options(settings: list[str], accept_changes: bool, as_json: bool) -> list[str]:
    flags = {"--accept-changes": accept_changes, "--json": as_json}
    return [*set_options(settings), *(flag for flag, given in flags.items() if given)]


def _show(result: dict[str, Any], folder: Path, as_json: bool, config: "Config") -> None:
    from dp_experiments.show.report.page import with_errors
    from dp_experiments.show.report.pictures import leave_figures
    from dp_real import Run

    for remark in (too_few(result["additions"], config), missed_aim(Run(folder))):
        if remark:
            say(f"{config.name}: {remark}")
    answer(as_json, result, [_shown(result, SHOWN_OF_RUN)], with_errors(result.get("sets", [])))
    leave_figures(folder)
