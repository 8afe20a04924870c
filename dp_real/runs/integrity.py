"""Whether a run's files are as they were written, and which checkpoint is the newest that is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from dp_base.checksums import damage, read_json
from dp_base.errors import DamagedError, InputError
from dp_real.config import load_config
from dp_real.loop.state import State
from dp_real.pool.record import PoolRecord, pool_problem
from dp_real.runs.files import RunFiles, read_rows


def log_marks(files: RunFiles) -> dict[str, dict[str, Any]]:
    """How far the logs are written, for a checkpoint: name -> bytes, sha256 of these bytes."""
    marks = {}
    for log in (files.metrics, files.rounds):
        written = log.read_bytes() if log.exists() else b""
        marks[log.name] = {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    return marks


def log_problem(files: RunFiles, marks: dict[str, dict[str, Any]]) -> str | None:
    """The first log that does not begin with what it had when the marks were made; None if both do."""
    for name, mark in marks.items():
        log = files.path / name
        begin = log.read_bytes()[: mark["bytes"]] if log.exists() else b""
        if len(begin) < mark["bytes"]:
            return f"{log} lacks rows that were written" if begin else f"{log} is missing or empty"
        if hashlib.sha256(begin).hexdigest() != mark["sha256"]:
            return f"{log} is damaged: its checksum is not that of what was written"
    return None


def checkpoint_problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's own files; None if nothing is. Without checksums, they must at least open."""
    problem = damage(checkpoint)
    if problem:
        return problem
    try:
        record = read_json(checkpoint / "state.json")
        State.restored({key: value for key, value in record.items() if key in State.__dataclass_fields__})
        int(record["pool_version"])
    except DamagedError as error:
        return str(error).partition(";")[0]
    except (KeyError, TypeError, ValueError):
        return f"{checkpoint / 'state.json'} is not the state of a run"
    try:
        with safe_open(checkpoint / "learner.safetensors", "pt"):
            return None
    except Exception as error:
        return f"{checkpoint / 'learner.safetensors'} cannot be read: {error}"


def resume_problem(files: RunFiles, checkpoint: Path) -> str | None:
    """Why a run cannot go on from a checkpoint: the first damage in it, in its pool or in the logs up to it."""
    problem = checkpoint_problem(checkpoint)
    if problem:
        return problem
    record = read_json(checkpoint / "state.json")
    return pool_problem(files.pool, record["pool_version"]) or log_problem(files, record.get("logs", {}))


def problems(folder: Path) -> list[str]:
    """What is damaged in a run's folder, and the way on: a line each; none if all is as it was written.

    Raises InputError if the folder is not a run's.
    """
    files = RunFiles(folder)
    if not files.is_run:
        raise InputError(f"{folder} is not the folder of a run: it has no config.toml")
    return [f"{what}; {remedy}" for what, remedy in _problems(files)]


def _problems(files: RunFiles) -> Iterator[tuple[str, str]]:
    """Pairs of what is damaged and the way on."""
    run = files.path
    again = f"dp real run {files.config} --out NEW repeats the run"
    retrain = f"remove {files.result}, and dp real resume {run} trains again from the newest intact checkpoint"
    try:
        load_config(files.config)
    except InputError as error:
        yield str(error), "restore it"
    for checkpoint in sorted(path for path in files.checkpoints.glob("[sl]*")):
        if problem := checkpoint_problem(checkpoint):
            yield problem, f"dp real resume {run} goes back to the newest intact checkpoint"
        elif problem := log_problem(files, read_json(checkpoint / "state.json").get("logs", {})):
            yield problem, again
    if files.pool.exists() and (problem := _newest_pool_problem(files.pool)):
        yield problem, again if files.result.exists() else f"dp real resume {run} goes back to an intact checkpoint"
    for folder in (files.path, files.learner, files.best):
        if problem := damage(folder):
            yield problem, retrain
    for log in (files.metrics, files.rounds):
        try:
            read_rows(log)
        except DamagedError as error:
            yield str(error).partition(";")[0], again
    for branch in files.branches:
        if problem := damage(branch.path) or damage(branch.learner):
            yield problem, f"remove {branch.path}; dp real branch {run} makes it again"


def _newest_pool_problem(pool: Path) -> str | None:
    try:
        latest = PoolRecord.read(pool).latest
    except DamagedError as error:
        return str(error).partition(";")[0]
    return None if latest is None else pool_problem(pool, latest)
