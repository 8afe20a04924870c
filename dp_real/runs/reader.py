import contextlib
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from dp_base.checksums import damage, verify
from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.reading import own_file
from dp_real.config import Config, load_config
from dp_real.learners.models.saved import restored
from dp_real.pool.pool import Pool, pool_problem, rounds_of
from dp_real.protocols import Learner
from dp_real.runs.files import STATE, Checkpoint, RunFiles, checkpoints, kept_checkpoints, newest_intact
from dp_real.runs.identity import accept_inputs, input_changes
from dp_real.runs.prepare import fresh_learner


class Run:
    """The results of a run so far. All but the configuration is read each time, as the run may go on."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError if the folder is not a run's."""
        self.files = RunFiles.open(Path(folder).absolute())  # a notebook may change the current folder

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.files.path

    def unchanged(self, accept_changes: bool = False) -> Self:
        """This run, if nothing that it depends on has changed since it began.

        Otherwise raises InputError or, with accept_changes, logs a warning.
        """
        accept_inputs(input_changes(self.files), accept_changes)
        return self

    @cached_property
    def config(self) -> Config:
        """The resolved configuration. Raises InputError if this version does not accept it."""
        return load_config(self.files.config)

    @property
    def complete(self) -> bool:
        """Whether the run has a result."""
        return self.files.result.exists()

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json; empty until the run is complete."""
        return self.files.read_result() or {}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per evaluation: step, pool_size, epoch, lr, train_loss, val_accuracy and others."""
        return pd.DataFrame(self._rows(self.files.metrics))

    @property
    def rounds(self) -> pd.DataFrame:
        """A row per round, with the initial one: round, step, count, omega, entropy (nats), fraction_wrong, costs."""
        return pd.DataFrame(self._rows(self.files.rounds))

    def _rows(self, log: Path) -> list[dict[str, Any]]:
        newest = None if self.complete else next(iter(checkpoints(self.files.checkpoints)), None)
        if self.complete:
            verify(self.path, self.files.again, [log.name])
        elif newest and newest.problem([STATE]) is None and (problem := newest.log_problem(self.files)):
            raise DamagedError(problem, f"{self.files.resume} restores it")
        return self.files.read_rows(log)

    @property
    def pool(self) -> Pool:
        """The generated examples, read from disk on demand; also a map-style data set of torch.

        Raises MissingError if there is none yet, DamagedError if a file is missing or changed.
        """
        if not rounds_of(self.files.pool):
            if self.complete:
                raise DamagedError(f"{self.files.pool} is missing", self.files.repeat)
            raise MissingError(f"{self.path}: there is no pool yet; continue the run by {self.files.resume}")
        return Pool.latest(self.files.pool, self.config.pool_shape)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints before each addition, by step. A damaged one is left out with a warning."""
        return kept_checkpoints(self.files.checkpoints)

    @property
    def branches(self) -> list[dict[str, Any]]:
        """Results of finished branches, by pool size. Raises DamagedError if one is lost or changed."""
        for files in self.files.branches:
            verify(files.path, files.branch_again, [files.result.name])
        return [result for files in self.files.branches if (result := files.read_result())]

    def learner(self, at: Checkpoint | None = None) -> Learner:
        """The trained learner, that of checkpoint `at`, or the latest of an unfinished run.

        Raises InputError if nothing was learned yet, DamagedError if files are missing or changed.
        """
        weights = self.files.learner
        if at is None and self.complete:
            verify(weights, self.files.again)
            with own_file(weights, self.files.again):
                return restored(self.config.learner, self.config.task, self.config.training, weights)
        at = at or newest_intact(self.files)
        if at is None:
            raise InputError(f"{self.path}: nothing has been learned yet; continue it by {self.files.resume}")
        learner = fresh_learner(self.config)
        at.restore(learner)
        return learner


def problems(folder: Path) -> list[str]:
    """A line for each damage in a run's folder, with the remedy."""
    files = RunFiles.open(folder)
    complete = files.result.exists()
    resume = f"{files.resume} goes back to the newest intact checkpoint"
    again = files.again if complete else resume
    findings: list[tuple[str | None, str]] = []
    try:
        load_config(files.config)
        with contextlib.suppress(DamagedError):  # a damaged result is reported below
            findings += [(change, "restore it, unless the change is meant") for change in input_changes(files)]
    except InputError as error:
        findings.append((str(error), "restore it"))
    for checkpoint in checkpoints(files.checkpoints):
        problem = checkpoint.problem()
        findings.append((problem, checkpoint.remedy) if problem else (checkpoint.log_problem(files), again))
    if complete or files.pool.exists():
        findings.append((pool_problem(files.pool), files.repeat if complete else resume))
    parts = [(files, again), *((each, each.branch_again) for each in files.branches)]
    for part, remedy in parts:
        ended = part.result.exists() or part.learner.exists()
        findings.append((damage(part.path) or (damage(part.learner) if ended else None), remedy))
    return list(dict.fromkeys(f"{problem}; {remedy}" for problem, remedy in findings if problem))
