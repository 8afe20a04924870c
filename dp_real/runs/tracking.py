"""Dashboards: sends a run's evaluations and additions to TensorBoard or Weights & Biases, by accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.config.load import flat
from dp_real.plan.needs import tracker
from dp_real.runs.folder import Tracker


def check_tracker(config: Config) -> None:
    """Raise MissingError if the dashboard's package is not installed."""
    if config.tracker != "none" and (problem := tracker(config.tracker).problem):
        raise MissingError(problem)


def last_wandb_run(out: Path) -> str | None:
    """The id of the latest run that wandb has begun in a folder, which it then goes on with; None: there is none."""
    begun = sorted((out / "wandb").glob("*run-*-*"), key=lambda path: path.name.removeprefix("offline-"))
    return begun[-1].name.rpartition("-")[2] if begun else None


@contextmanager
def tracking(config: Config, out: Path) -> Iterator[Tracker | None]:
    """Yield a Tracker that reports the run in folder `out`; None if no dashboard is asked for."""
    if config.tracker == "none":
        yield None
        return
    accelerator = Accelerator(
        log_with=config.tracker, project_dir=out, cpu=not torch.cuda.is_available(), mixed_precision="no"
    )
    wandb = {"dir": str(out), "name": config.name, "resume": "allow", "id": last_wandb_run(out)}
    wandb["settings"] = {"x_disable_meta": True}  # it would send the command line, secrets included
    settings = flat(config.model_dump(mode="json"))
    shown = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.items()}
    accelerator.init_trackers("deliberate-practice", shown, {"wandb": wandb})
    try:
        yield lambda row, step: accelerator.log(row, step=step)
    finally:
        # accelerator.end_training would also end the group of processes, which the evaluation still needs.
        for dashboard in accelerator.trackers:
            dashboard.finish()
