"""Whether a run's files are as they were written, and which checkpoint is the newest that a run can go on from."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dp_base.checksums import damage
from dp_base.errors import DamagedError, InputError
from dp_real.config import load_config
from dp_real.pool.pool import pool_problem
from dp_real.practice import LoopState
from dp_real.runs.checkpoints import (
    checkpoint_problem,
    checkpoints,
    newest_intact,
    read_record,
    read_state,
)
from dp_real.runs.identity import changes
from dp_real.runs.run_files import RunFiles, read_rows


def log_marks(files: RunFiles) -> dict[str, dict[str, Any]]:
    """How far the logs are written, for a checkpoint: name -> bytes, sha256 of these bytes."""
    marks = {}
    for log in (files.metrics, files.rounds):
        written = log.read_bytes() if log.exists() else b""
        marks[log.name] = {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    return marks


def log_problem(files: RunFiles, checkpoint: Path) -> str | None:
    """The first log that does not begin with what it had at a checkpoint; None if both do."""
    for name, mark in read_record(checkpoint)["logs"].items():
        log = files.path / name
        begin = log.read_bytes()[: mark["bytes"]] if log.exists() else b""
        if len(begin) < mark["bytes"]:
            return f"{log} lacks rows that were written" if begin else f"{log} is missing or empty"
        if hashlib.sha256(begin).hexdigest() != mark["sha256"]:
            return f"{log} is damaged: its checksum is not that of what was written"
    return None


def resumable(files: RunFiles, keep_best: bool) -> Path | None:
    """The newest checkpoint that is intact with its pool, the logs up to it and, if it is kept, the best learner.

    None if there is no checkpoint. A remark says what was passed over. Raises DamagedError if none is intact.
    """

    def problem(checkpoint: Path) -> str | None:
        found = checkpoint_problem(checkpoint)
        if found:
            return found
        state, pool_version = read_state(checkpoint)
        found = pool_problem(files.pool, pool_version) or log_problem(files, checkpoint)
        return found or (_best_problem(files, state) if keep_best else None)

    return newest_intact(files.checkpoints, problem)


def _best_problem(files: RunFiles, state: LoopState) -> str | None:
    """What is wrong with the best learner, unless a better one came after this state and will come again."""
    problem = damage(files.best) if files.best.exists() else f"{files.best} is missing"
    if problem is None or state.best < 0:
        return None
    try:
        later = [row["val_accuracy"] for row in read_rows(files.metrics) if row["step"] > state.step]
    except (DamagedError, KeyError):
        return problem
    return None if any(accuracy > state.best for accuracy in later) else problem


def cut_logs(files: RunFiles, checkpoint: Path) -> None:
    """Cut the logs back to what they had at a checkpoint, whatever follows."""
    for name, mark in read_record(checkpoint)["logs"].items():
        if (files.path / name).exists():
            os.truncate(files.path / name, mark["bytes"])


class Damage(NamedTuple):
    """What is damaged, and the way on."""

    what: str
    remedy: str


def problems(folder: Path) -> list[str]:
    """What is damaged in a run's folder, and the way on: a line each; none if all is as it was written.

    Raises InputError if the folder is not a run's, or if it is of another format.
    """
    files = RunFiles.of(folder)
    found = [
        *_config_problems(files),
        *_checkpoint_problems(files),
        *_pool_problems(files),
        *_part_problems(files),
        *_log_problems(files),
        *_branch_problems(files),
    ]
    return list(dict.fromkeys(f"{what}; {remedy}" for what, remedy in found))


def _config_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the configuration that it cannot be read, and else of what the run depends on that it is another one."""
    try:
        load_config(files.config)
    except InputError as error:
        yield Damage(str(error), "restore it")
        return
    with contextlib.suppress(DamagedError):  # of the result, which _part_problems names
        for change in changes(files):
            yield Damage(change, "restore it, unless the change is meant")


def _checkpoint_problems(files: RunFiles) -> Iterator[Damage]:
    for checkpoint in checkpoints(files.checkpoints):
        if problem := checkpoint_problem(checkpoint):
            yield Damage(problem, f"remove {checkpoint} to do without that checkpoint")
        elif problem := log_problem(files, checkpoint):
            yield Damage(problem, _restore_or_repeat(files))


def _pool_problems(files: RunFiles) -> Iterator[Damage]:
    if not files.pool.exists():
        return
    problem = pool_problem(files.pool)
    if problem:
        yield Damage(problem, _restore_or_repeat(files) if files.result.exists() else _go_back(files))


def _part_problems(files: RunFiles) -> Iterator[Damage]:
    for part in (files.path, files.learner, files.best):
        if problem := damage(part):
            yield Damage(problem, _go_back(files))


def _log_problems(files: RunFiles) -> Iterator[Damage]:
    for log in (files.metrics, files.rounds):
        try:
            read_rows(log)
        except DamagedError as error:
            yield Damage(str(error).partition(";")[0], _restore_or_repeat(files))


def _branch_problems(files: RunFiles) -> Iterator[Damage]:
    for branch in files.branches:
        if problem := damage(branch.path) or damage(branch.learner):
            yield Damage(problem, branch.branch_again)


def _restore_or_repeat(files: RunFiles) -> str:
    return f"restore it, or {files.repeat}"


def _go_back(files: RunFiles) -> str:
    back = f"dp real resume {files.path} goes back to the newest intact checkpoint"
    return f"remove {files.result}, and {back}" if files.result.exists() else back
