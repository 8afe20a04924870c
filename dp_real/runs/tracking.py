"""Dashboards: sends a run's evaluations and additions to TensorBoard or Weights & Biases, by accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.estimate.needs import tracker
from dp_real.runs.folder import Tracker


def check_tracker(config: Config) -> None:
    """Raise MissingError if the dashboard's package is not installed."""
    if config.tracker != "none" and (problem := tracker(config.tracker).problem):
        raise MissingError(problem)


@contextmanager
def tracking(config: Config, out: Path) -> Iterator[Tracker | None]:
    """Yield a Tracker that reports the run in folder `out`; None if no dashboard is asked for."""
    if config.tracker == "none":
        yield None
        return
    accelerator = Accelerator(
        log_with=config.tracker, project_dir=out, cpu=not torch.cuda.is_available(), mixed_precision="no"
    )
    accelerator.init_trackers("deliberate-practice")
    try:
        yield lambda row, step: accelerator.log(row, step=step)
    finally:
        # accelerator.end_training would also end the group of processes, which the evaluation still needs.
        for dashboard in accelerator.trackers:
            dashboard.finish()
