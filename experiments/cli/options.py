"""Options and arguments that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.presets.presets import preset_names

if TYPE_CHECKING:
    from dp_real.config import Config
    from dp_real.runs.reader import Run

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Preset = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FILE.toml",
        help=f"{', '.join(preset_names())}, a row of the paper's tables (`dp real presets`), or a configuration file.",
    ),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. guidance.omega=0.03.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Runs at a time, each on a GPU of its own.  Default: one a GPU; with none, 2."),
]
FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]


def arm_names(arms: str) -> list[str]:
    """The names in a comma-separated list of arms. Raises InputError if one is there twice."""
    from dp_base.errors import InputError
    from dp_real.config.arms import split_names

    names = split_names(arms)
    if len(set(names)) < len(names):
        raise InputError(f"--arms {arms} names an arm twice")
    return names


def at_a_time(workers: int | None) -> int:
    """How many runs go on at a time: as asked, else one on each GPU, or two on a machine without."""
    from dp_real.runtime.processes import visible_gpus

    return workers or len(visible_gpus()) or 2


def default_folder(config: "Config") -> Path:
    """Where a run goes without --out: runs/NAME-SEED."""
    return Path("runs") / f"{config.name}-{config.seed}"


def too_few(made: float, planned: int) -> str:
    """What to say of a run that ended with fewer samples than planned."""
    return (
        f"{made:,.0f} of {planned:,} samples were made: patience took the steps; lower practice.patience or "
        "practice.evaluate_every, or raise training.steps"
    )


def at_limit(run: "Run") -> str | None:
    """What to say of a run whose automatic strength ended at an end of its range, so that it missed its aim."""
    from dp_real.rounds.policies import end_of_range

    options, rounds = run.config.guidance, run.rounds
    added = rounds[rounds["round"] > 0]
    if options.control != "none" or not len(added):
        return None
    end = end_of_range(run.config, float(added["omega"].iloc[-1]))
    if end is None:
        return None
    share = f"{added['fraction_wrong'].iloc[-1]:.0%} of the last round's rows are wrong to the learner"
    asked = f"guidance.wrong_share = {options.wrong_share:g}"
    why = (
        f"plain ones are as hard as {asked} asks: raise it, or take plain samples"
        if end == "lowest"
        else f"{asked} is out of reach: lower it"
    )
    return f"the strength is at its {end}; {share}: {why}"
