"""Options that several commands of the full pipeline share."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from dp_base.errors import InputError
from dp_experiments.presets.presets import preset_names

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dp_real.config import Config

WORKERS_WITHOUT_GPU = 2

PRESET: Any = Argument(
    metavar="PRESET|FILE.toml",
    help=f"{', '.join(preset_names())}, a row of the paper's tables (`dp real keys`), or a configuration file.",
)
Preset = Annotated[str, PRESET]
Set = Annotated[
    list[str], Option("--set", metavar="KEY=VALUE", help="Override a key, for example guidance.omega=0.03.")
]
Workers = Annotated[
    int | None,
    Option(
        min=1,
        max=1024,
        help="How many runs go on at a time, each on its own GPU.  "
        f"Default: one for each GPU; {WORKERS_WITHOUT_GPU} without a GPU.",
    ),
]
Dask = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="Runs go to the workers of this dask scheduler, which share the file system with this machine.",
    ),
]
AcceptChanges = Annotated[
    bool,
    Option(
        "--accept-changes",
        help="Go on though what the run depends on, such as its test set, has changed since it began. Results say so.",
    ),
]
FinishedRun = Annotated[Path, Argument(metavar="RUN", help="The folder of a finished run.")]


def judge_option(text: str) -> Any:
    """An option that names a run or a transformers model; `text` is what it is for."""
    return Option(metavar="RUN|FOLDER|ID", help=f"A run, or an image classifier of transformers, {text}")


def tell_changes(*given: str | Path | None) -> None:
    """Say of runs that are only looked at what they depend on and has changed since they began."""
    from dp_real import Run
    from dp_real.runs.files import RunFiles

    for folder in given:
        if folder is not None and RunFiles(Path(folder)).is_run:
            Run(folder).unchanged(accept_changes=True)


def arm_names(arms: str) -> list[str]:
    """The names in a comma list, in which none may be twice."""
    from dp_real.config.arms import split_names

    names = split_names(arms)
    if len(set(names)) < len(names):
        raise InputError(f"--arms {arms} names an arm twice")
    return names


def splits_of(seeds: int, wanted: int | None, configured: int | None = None) -> int:
    """How many data splits the seeds have; one each unless fewer are asked for."""
    if wanted and wanted > seeds:
        raise InputError(f"--splits {wanted}: a seed has one split: take at most --seeds, {seeds}, or more seeds")
    return min(wanted or configured or seeds, seeds)


def refuse(settings: Iterable[str], keys: Collection[str], instead: str) -> None:
    """Refuse keys in --set that the command sets itself; `instead` is what to do."""
    from dp_real.config.load import key_of

    for setting in settings:
        if key_of(setting) in keys:
            raise InputError(f"--set {setting}: {instead}")


def requested_cluster(dask: str | None, workers: int | None) -> "AbstractContextManager[int | None]":
    """A block in which runs go where --dask says; yields how many at a time, None: the cluster decides."""
    from contextlib import nullcontext

    from dp_base.workers import on_cluster
    from dp_real.runtime.distributed import visible_gpus

    if dask is None:
        return nullcontext(workers or len(visible_gpus()) or WORKERS_WITHOUT_GPU)
    if workers is not None:
        raise InputError(
            f"--workers {workers} is for this machine; with --dask, each worker of the cluster takes a run"
        )
    return on_cluster(dask)


def default_folder(config: "Config") -> Path:
    """Where a run goes without --out: runs/NAME-SEED."""
    return Path("runs") / f"{config.name}-{config.seed}"
