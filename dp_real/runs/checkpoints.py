"""Checkpoints: folders with learner.safetensors and state.json, each written whole.

step-N-rounds-K is written before an addition of data, and kept. latest-step-N-rounds-K is for resuming, and replaces
the latest before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from dp_base.files import remove, whole_folder, write_json
from dp_real.loop.state import State
from dp_real.pool import Pool
from dp_real.protocols import Learner
from dp_real.runtime.finite import LEARNER, require_finite


def write_checkpoint(folder: Path, state: State, learner: Learner, pool: Pool, keep: bool) -> None:
    """Write a checkpoint into a folder of them. An existing one of that name is kept: it has the same content.

    Raises DivergedError, and writes nothing, if the learner's tensors are not finite.
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
        write_json(staged / "state.json", state.record() | {"pool_version": pool.version})
    for path in older:
        remove(path)


def kept_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints before each addition of data, by step."""
    return sorted(folder.glob("step-*"))


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint from which a run resumes; None if there is none."""

    def position(checkpoint: Path) -> tuple[int, int]:
        record = read_record(checkpoint)
        return record["step"], record["rounds"]

    return max(folder.glob("[sl]*"), key=position, default=None)


def read_record(checkpoint: Path) -> dict[str, Any]:
    """Read state.json: the fields of State, and pool_version."""
    return json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))


def restore_learner(learner: Learner, checkpoint: Path) -> tuple[State, int]:
    """Restore a learner from a checkpoint; returns the run's state there and the version of its pool."""
    record = read_record(checkpoint)
    pool_version = record.pop("pool_version")
    state = State.restored(record)
    learner.load_tensors(load_file(checkpoint / "learner.safetensors"), state.step)
    learner.finish_at(state.last_step)
    return state, pool_version
