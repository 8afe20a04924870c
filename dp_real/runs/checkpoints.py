"""Checkpoints, each written whole: step-N-rounds-K before an addition stays, latest-step-N-rounds-K is replaced."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from dp_base.checksums import damage, seal, verify
from dp_base.errors import DamagedError
from dp_base.files import remove, to_disk, whole_folder, write_json
from dp_base.reading import KEY, own_file, read_json, require_format
from dp_real.pool import Pool
from dp_real.practice import LoopState
from dp_real.protocols import Learner
from dp_real.runs.run_files import RunFiles
from dp_real.runtime.finite import LEARNER, require_finite

log = logging.getLogger(__name__)
FORMAT = 1  # of checkpoints; see dp_base.reading.require_format on when it rises


def write_checkpoint(
    folder: Path,
    state: LoopState,
    learner: Learner,
    pool: Pool,
    keep: bool,
    logs: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    accepted: list[str] | None = None,
) -> None:
    """Write a checkpoint. One of its name has the same content and stays. DivergedError if tensors are not finite.

    inputs: the run's identity, of which `accepted` had changed.
    """
    name = f"step-{state.step:09d}-rounds-{state.rounds:04d}"
    checkpoint = folder / (name if keep else f"latest-{name}")
    if checkpoint.exists():
        return
    older = [] if keep else list(folder.glob("latest-*"))
    tensors = learner.tensors()
    require_finite("the learner's weights", LEARNER, tensors.values())
    with whole_folder(checkpoint) as staged:
        save_file(tensors, staged / "learner.safetensors")
        facts: dict[str, Any] = {KEY: FORMAT, "pool_version": pool.version, "logs": logs or {}, "inputs": inputs or {}}
        if accepted:
            facts["accepted"] = accepted
        write_json(staged / "state.json", state.record() | facts)
        seal(staged)
        to_disk(staged)  # before the one that it replaces is gone
    for path in older:
        remove(path)


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints, the newest first."""
    return sorted((path for path in folder.glob("[sl]*") if _position(path)), key=_position, reverse=True)


def _position(checkpoint: Path) -> tuple[int, ...]:
    """The step and the rounds in a name; empty for anything else."""
    found = re.fullmatch(r"(?:latest-)?step-(\d+)-rounds-(\d+)", checkpoint.name)
    return tuple(map(int, found.groups())) if found else ()


def kept_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints before each addition, by step; a damaged one is left out, with a remark."""
    kept = []
    for checkpoint in sorted(folder.glob("step-*")):
        problem = state_problem(checkpoint)
        if problem:
            log.warning("%s; this checkpoint is left out", problem)
        else:
            kept.append(checkpoint)
    return kept


def is_kept(checkpoint: Path) -> bool:
    """Whether a checkpoint is before an addition, or the same as one that is."""
    return checkpoint.with_name(checkpoint.name.removeprefix("latest-")).exists()


def newest_intact(folder: Path, problem: Callable[[Path], str | None]) -> Path | None:
    """The newest checkpoint without a problem; DamagedError if all have one."""
    found = checkpoints(folder)
    problems = []
    for checkpoint in found:
        what = problem(checkpoint)
        if what is None:
            for each in problems:
                log.warning("%s; %s is used instead", each, checkpoint.name)
            return checkpoint
        if not checkpoint.exists():  # the run goes on, and has written another one meanwhile
            return newest_intact(folder, problem)
        problems.append(what)
    if found:
        run = folder.parent
        remedy = f"restore it, or {RunFiles(run).repeat}"
        raise DamagedError(f"{problems[0]}, and no checkpoint of {run} is intact without it", remedy)
    return None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose own files are intact."""
    return newest_intact(folder, checkpoint_problem)


def checkpoint_problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files."""
    return damage(checkpoint) or state_problem(checkpoint)


def state_problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's state.json."""
    problem = damage(checkpoint, ["state.json"])
    if problem:
        return problem
    try:
        read_state(checkpoint)
    except DamagedError as error:
        return error.problem
    return None


def read_record(checkpoint: Path) -> dict[str, Any]:
    """state.json: LoopState, format number, pool_version, logs, inputs, and `accepted` if these have changed."""
    record = read_json(checkpoint / "state.json", _remedy(checkpoint))
    require_format(record, FORMAT, checkpoint / "state.json")
    return {"logs": {}, "inputs": {}} | record


def read_state(checkpoint: Path) -> tuple[LoopState, int]:
    """The run's state, and the version of its pool."""
    record = read_record(checkpoint)
    with own_file(checkpoint / "state.json", _remedy(checkpoint)):
        pool_version = int(record.pop("pool_version"))
        for note in (KEY, "logs", "inputs", "accepted"):
            record.pop(note, None)
        return LoopState.restored(record), pool_version


def restore_learner(learner: Learner, checkpoint: Path) -> tuple[LoopState, int]:
    """Restore a learner, and return the run's state and the version of its pool."""
    verify(checkpoint, _remedy(checkpoint))
    state, pool_version = read_state(checkpoint)
    with own_file(checkpoint / "learner.safetensors", _remedy(checkpoint)):
        learner.load_tensors(load_file(checkpoint / "learner.safetensors"), state.step)
    learner.finish_at(state.last_step)
    return state, pool_version


def _remedy(checkpoint: Path) -> str:
    return f"restore it, or remove {checkpoint} to do without that checkpoint"


def log_marks(files: RunFiles) -> dict[str, dict[str, Any]]:
    """How far the logs are written: name -> bytes, and their sha256."""
    marks = {}
    for log in (files.metrics, files.rounds):
        written = log.read_bytes() if log.exists() else b""
        marks[log.name] = {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    return marks


def log_problem(files: RunFiles, checkpoint: Path) -> str | None:
    """The first log that does not begin with what it had at a checkpoint."""
    for name, mark in read_record(checkpoint)["logs"].items():
        log = files.path / name
        begin = log.read_bytes()[: mark["bytes"]] if log.exists() else b""
        if len(begin) < mark["bytes"]:
            return f"{log} lacks rows that were written" if begin else f"{log} is missing or empty"
        if hashlib.sha256(begin).hexdigest() != mark["sha256"]:
            return f"{log} is damaged: its checksum is not that of what was written"
    return None


def cut_logs(files: RunFiles, checkpoint: Path) -> None:
    """Cut the logs back to a checkpoint, whatever follows."""
    for name, mark in read_record(checkpoint)["logs"].items():
        if (files.path / name).exists():
            os.truncate(files.path / name, mark["bytes"])
