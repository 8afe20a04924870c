"""The reader of a run's folder, complete or not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from dp_base.checksums import damage, verify
from dp_base.errors import DamagedError, InputError, Lack, MissingError
from dp_base.reading import own_file
from dp_real.config import Config, load_config
from dp_real.pool import Pool
from dp_real.pool.pool import pool_problem
from dp_real.practice import LoopState
from dp_real.protocols import Learner
from dp_real.runs.checkpoints import (
    checkpoint_problem,
    checkpoints,
    kept_checkpoints,
    log_problem,
    newest_checkpoint,
    read_state,
    restore_learner,
    state_problem,
)
from dp_real.runs.identity import accepted, changes
from dp_real.runs.prepare import fresh_learner
from dp_real.runs.run_files import RunFiles, read_rows


@dataclass(frozen=True)
class Checkpoint:
    """A run's checkpoint before an addition."""

    path: Path
    state: LoopState


class Run:
    """What a run has left so far. All but the configuration is read anew each time, since the run may be going on."""

    def __init__(self, folder: str | Path) -> None:
        """Open a run's folder. Raises InputError if it is not one."""
        self.files = RunFiles.of(folder)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.files.path

    def unchanged(self, accept_changes: bool = False) -> Self:
        """This run, once all that it depends on was found to be as it was when it began.

        Raises InputError if something is not. accept_changes: say so in a remark instead.
        """
        accepted(changes(self.files), accept_changes)
        return self

    @cached_property
    def config(self) -> Config:
        """The resolved, complete configuration. Raises InputError if this version does not accept it."""
        return load_config(self.files.config)

    @property
    def complete(self) -> bool:
        """Whether it has a result."""
        return self.files.result.exists()

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json; empty while the run is not complete."""
        return self.files.read_result() or {}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per evaluation: step, pool_size, epoch, lr, train_loss, val_accuracy, images_generated, seconds."""
        return pd.DataFrame(self._rows(self.files.metrics))

    @property
    def rounds(self) -> pd.DataFrame:
        """A row per round, also the initial one: round, step, count, omega, entropy (nats), fraction_wrong, costs."""
        return pd.DataFrame(self._rows(self.files.rounds))

    def _rows(self, log: Path) -> list[dict[str, Any]]:
        remedy = f"restore it, or {self.files.repeat}"
        newest = None if self.complete else next(iter(checkpoints(self.files.checkpoints)), None)
        if self.complete:
            verify(self.path, remedy, [log.name])
        elif newest and state_problem(newest) is None and (problem := log_problem(self.files, newest)):
            raise DamagedError(problem, f"dp real resume {self.path} goes back to before that; or {remedy}")
        return read_rows(log)

    @property
    def pool(self) -> Pool:
        """The generated examples, also a map-style data set of torch. They stay on disk, and are read on demand.

        Raises MissingError while there is none, DamagedError if a file of it is missing or changed.
        """
        there = self.files.pool.exists()
        if not there and self.complete:
            raise DamagedError(f"{self.files.pool} is missing", f"restore it, or {self.files.repeat}")
        if not there:
            raise MissingError(f"{self.path}: there is no pool yet; go on with the run by dp real resume {self.path}")
        return Pool.latest(self.files.pool, self.config.pool_shape, memory=0)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints before each addition of data, by step. A damaged one is left out, with a remark."""
        return [Checkpoint(path, read_state(path)[0]) for path in kept_checkpoints(self.files.checkpoints)]

    @property
    def branches(self) -> list[dict[str, Any]]:
        """The results of finished branches, by pool size. Raises DamagedError if one is lost or changed."""
        for files in self.files.branches:
            verify(files.path, files.branch_again, [files.result.name])
        return [result for files in self.files.branches if (result := files.read_result())]

    def learner(self, at: Checkpoint | None = None) -> Learner:
        """The trained learner, or the latest of an unfinished run. at: the learner at that checkpoint instead.

        Raises InputError for a run that has learned nothing yet, DamagedError if its files are missing or changed.
        """
        weights = self.files.learner
        if at is None and self.complete:
            remedy = f"remove {self.files.result}, and dp real resume {self.path} trains the last part again"
            verify(weights, remedy)
            with own_file(weights, remedy):
                learner = fresh_learner(_beginning_at(self.config, weights))
                learner.load(weights)
            return learner
        learner = fresh_learner(self.config)
        if at is not None:
            restore_learner(learner, at.path)
        elif newest := newest_checkpoint(self.files.checkpoints):
            restore_learner(learner, newest)
        else:
            raise InputError(f"{self.path}: nothing has been learned yet; go on with it by dp real resume {self.path}")
        return learner


def _beginning_at(config: Config, weights: Path) -> Config:
    """The configuration with a learner that begins with these weights, if it began with others, which may be gone."""
    if not config.learner.weights():
        return config
    return config.model_copy(update={"learner": config.learner.model_copy(update={"model": str(weights)})})


# what is damaged in it


def problems(folder: Path) -> list[str]:
    """A line for each damage in a run's folder, and the way on."""
    files = RunFiles.of(folder)
    found = [*_config_problems(files), *_log_problems(files), *_part_problems(files)]
    return list(dict.fromkeys(map(str, found)))


def _config_problems(files: RunFiles) -> Iterator[Lack]:
    """That it cannot be read, and else that what the run depends on has changed."""
    try:
        load_config(files.config)
    except InputError as error:
        yield Lack(str(error), "restore it")
        return
    with contextlib.suppress(DamagedError):  # of the result, which _part_problems names
        for change in changes(files):
            yield Lack(change, "restore it, unless the change is meant")


def _log_problems(files: RunFiles) -> Iterator[Lack]:
    """Of checkpoints, and of the logs, which begin with what these had."""
    remedy = f"restore it, or {files.repeat}"
    for checkpoint in checkpoints(files.checkpoints):
        if problem := checkpoint_problem(checkpoint):
            yield Lack(problem, f"remove {checkpoint} to do without that checkpoint")
        elif problem := log_problem(files, checkpoint):
            yield Lack(problem, remedy)
    for log in (files.metrics, files.rounds):
        try:
            read_rows(log)
        except DamagedError as error:
            yield Lack(error.problem, remedy)


def _part_problems(files: RunFiles) -> Iterator[Lack]:
    """Of the pool, the run's own files, its learners and its branches."""
    complete = files.result.exists()
    back = f"dp real resume {files.path} goes back to the newest intact checkpoint"
    if files.pool.exists() and (problem := pool_problem(files.pool)):
        yield Lack(problem, f"restore it, or {files.repeat}" if complete else back)
    for part in (files.path, files.learner):
        if problem := damage(part):
            yield Lack(problem, f"remove {files.result}, and {back}" if complete else back)
    for branch in files.branches:
        if problem := damage(branch.path) or damage(branch.learner):
            yield Lack(problem, branch.branch_again)
