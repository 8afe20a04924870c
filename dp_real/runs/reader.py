"""A run as its folder tells it, complete or not: the one reader of what a run leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dp_base.errors import InputError, MissingError
from dp_real.config import Config, load_config
from dp_real.loop.state import State
from dp_real.pool import Pool
from dp_real.protocols import Learner
from dp_real.runs.checkpoints import kept_checkpoints, newest_checkpoint, read_record, restore_learner
from dp_real.runs.files import RunFiles, read_rows
from dp_real.runs.prepare import fresh_learner
from dp_real.sections import PoolConfig


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood before an addition of data."""

    path: Path
    state: State


class Run:
    """What a run left so far. Everything but the configuration is read anew each time: the run may go on meanwhile."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError if the folder is not a run's."""
        self.files = RunFiles(Path(folder))
        if not self.files.config.is_file():
            raise InputError(f"{folder} is not the folder of a run: it has no config.toml")

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.files.path

    @cached_property
    def config(self) -> Config:
        """Resolved and complete. Raises InputError for one that is not valid any more."""
        return load_config(self.files.config)

    @property
    def complete(self) -> bool:
        """Whether it has a result."""
        return self.files.result.exists()

    @property
    def result(self) -> dict[str, Any]:
        """What result.json says; empty while the run is not complete."""
        return self.files.read_result() or {}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row an evaluation: step, pool_size, epoch, lr, train_loss, val_accuracy, images_generated, seconds."""
        return pd.DataFrame(read_rows(self.files.metrics))

    @property
    def rounds(self) -> pd.DataFrame:
        """A row an addition: round, step, count, omega, entropy, fraction_wrong, and what it cost."""
        return pd.DataFrame(read_rows(self.files.rounds))

    @property
    def has_pool(self) -> bool:
        """Whether the first round is in it."""
        return self.files.pool.exists()

    @property
    def pool(self) -> Pool:
        """The generated examples, also a map-style data set of torch; left on disk, and read when asked for.

        Raises MissingError while there is none.
        """
        if not self.has_pool:
            raise MissingError(f"{self.path}: there is no pool yet; go on with the run by dp real resume {self.path}")
        return Pool.latest(self.files.pool, self.config.task.sample_shape, PoolConfig(memory=0))

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Those before each addition of data, by step."""
        return [Checkpoint(path, _state(path)) for path in kept_checkpoints(self.files.checkpoints)]

    @property
    def branches(self) -> list[dict[str, Any]]:
        """Results of the finished branches, by pool size."""
        return [result for files in self.files.branches if (result := files.read_result())]

    def learner(self, at: Checkpoint | None = None) -> Learner:
        """The trained learner; of an unfinished run as it was last, or as it was at a checkpoint.

        Raises InputError for a run that has learned nothing yet.
        """
        learner, newest = fresh_learner(self.config), newest_checkpoint(self.files.checkpoints)
        if at is not None:
            restore_learner(learner, at.path)
        elif self.complete:
            learner.load(self.files.learner)
        elif newest is not None:
            restore_learner(learner, newest)
        else:
            raise InputError(f"{self.path}: nothing has been learned yet; go on with it by dp real resume {self.path}")
        return learner


def _state(checkpoint: Path) -> State:
    return State.restored({key: value for key, value in read_record(checkpoint).items() if key != "pool_version"})
