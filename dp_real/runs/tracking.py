"""Dashboards: sends a run's evaluations and additions to TensorBoard or Weights & Biases, by accelerate."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.runs.folder import Tracker


def check_tracker(config: Config) -> None:
    """Raise MissingError if the dashboard's package is not installed."""
    if config.tracker != "none" and importlib.util.find_spec(config.tracker) is None:
        raise MissingError(f"tracker = '{config.tracker}' needs that package: pip install {config.tracker}")


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
        accelerator.end_training()
