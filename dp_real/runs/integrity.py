"""Whether a run's files are as they were written, and which checkpoint is the newest that a run can go on from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dp_base.checksums import damage, digest, json_digest
from dp_base.errors import DamagedError, InputError
from dp_real.config import Config, load_config
from dp_real.data.sets.images import SAMPLED, ImageFiles
from dp_real.examples import ExampleSet, RealData
from dp_real.loop.state import LoopState
from dp_real.pool.marks import read_marks
from dp_real.pool.record import PoolRecord, pool_problem
from dp_real.runs.checkpoints import (
    checkpoint_problem,
    checkpoints,
    newest_intact,
    read_record,
    read_state,
    state_problem,
)
from dp_real.runs.run_files import RunFiles, read_rows
from dp_real.runtime import processes
from dp_real.runtime.cache import fingerprints

CONFIG = "config"  # among a run's inputs
NAMES = {
    "validation": "validation set",
    "training": "training examples",
    "code": "code of the generator",
    "marks": "marked examples",
    "test": "test set",
    "rest of validation": "rest of the validation set",
    "rest of test": "rest of the test set",
}
"""What messages call the other inputs."""
PLURAL = ("training", "marks")


def inputs(files: RunFiles, config: Config, data: RealData, *, test: bool = True) -> dict[str, str]:
    """Digests of what a run reads, for its checkpoints and its result: its configuration, and what `material` names.

    The main process computes the digests. The others return {}.
    """
    if not processes.this_process().is_main_process:
        return {}
    return {CONFIG: digest(files.config)} | material(config, data, test=test)


def material(config: Config, data: RealData, *, test: bool = True) -> dict[str, str]:
    """Digests of what a run of this configuration reads besides it.

    These are the set that validates, the training examples if the run uses them, the code of a generator that is a
    function, the marks of examples that are left out, and with `test` the test set and the further sets. Of a set that
    is evaluated all labels count, and about SAMPLED examples; of the rest see `_rest`. Their places do not matter.
    """
    found = {"validation": _set_digest(data.validation)} | _rest("validation", data.validation)
    if data.generator is not None and uses_training_examples(config):
        found["training"] = json_digest(data.generator.fingerprint())
    if config.practice.draws and (code := config.generator.code_digest()):
        found["code"] = code
    if config.pool.marks:
        found["marks"] = json_digest(sorted(read_marks(config.pool.marks)))
    if test:
        found |= {"test": _set_digest(data.test)} | _rest("test", data.test)
        for name, examples in data.sets.items():
            found |= {f"set {name}": _set_digest(examples)} | _rest(f"set {name}", examples)
    return found


def _set_digest(examples: ExampleSet) -> str:
    shown = examples.x[:: max(1, len(examples.y) // SAMPLED)]
    return json_digest(fingerprints(shown, examples.y))


def _rest(name: str, examples: ExampleSet) -> dict[str, str]:
    """Return a digest of what `_set_digest` passes over, by name. It is empty if nothing is, or it is not in memory.

    Of image files, these are the sizes as far as they are known without reading. Their times would be those of a copy.
    """
    x = examples.x
    if len(examples.y) < 2 * SAMPLED or not isinstance(x, ImageFiles | Tensor):
        return {}
    return {f"rest of {name}": json_digest(x.sizes() if isinstance(x, ImageFiles) else fingerprints(x))}


def uses_training_examples(config: Config) -> bool:
    """Whether the pool has real training examples, or the generator is trained on some or begins with them."""
    practice = config.practice
    generator = config.generator
    takes_some = practice.examples == "real" or practice.start == "real"
    return takes_some or (practice.draws and (generator.trained_here or generator.begins_with_real))


def changed_inputs(files: RunFiles, checkpoint: Path, now: dict[str, str]) -> Iterator[str]:
    """What is not as it was when a checkpoint was written, a line each. now: the inputs of today, or some of them."""
    yield from differences(files, read_record(checkpoint)["inputs"], now)


def differences(files: RunFiles, before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    """A line for each input that was noted before and is another one now."""
    for name in sorted(now.keys() & before.keys()):
        if now[name] != before[name]:
            what = files.config if name == CONFIG else f"the {NAMES.get(name, name)}"
            now_and_then = "are not what they were" if name in PLURAL else "is not what it was"
            yield f"{what} {now_and_then} when {files.path} began"


def require_same_result(config: Config, files: RunFiles, *, test: bool) -> None:
    """Raise InputError if a complete run was judged by other sets, or made from other examples, than there are now.

    Raises DamagedError if the run has lost its configuration, without which that cannot be known.
    """
    result = files.read_result()
    if result is None or "inputs" not in result:
        return
    if not files.config.exists():
        raise DamagedError(f"{files.config} is missing; restore it, or remove {files.path} to train that run again")
    now = inputs(files, config, config.data.load(), test=test)
    changes = list(differences(files, result["inputs"], now))
    if changes:
        raise InputError(refusal(changes, files))


def refusal(changes: list[str], files: RunFiles) -> str:
    """The message about inputs that have changed."""
    return f"{'; '.join(changes)}: restore what was, or --accept-changes to go on in {files.path} all the same"


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
    """Of the configuration: that it cannot be read, or is not what it was at the newest checkpoint."""
    try:
        load_config(files.config)
    except InputError as error:
        yield Damage(str(error), "restore it")
    for checkpoint in checkpoints(files.checkpoints)[:1]:
        if state_problem(checkpoint) is None:
            for change in changed_inputs(files, checkpoint, {CONFIG: digest(files.config)}):
                yield Damage(change, "restore it, unless the change is meant")


def _checkpoint_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the checkpoints, and of the logs as these know them."""
    for checkpoint in checkpoints(files.checkpoints):
        if problem := checkpoint_problem(checkpoint):
            yield Damage(problem, f"remove {checkpoint} to do without that checkpoint")
        elif problem := log_problem(files, checkpoint):
            yield Damage(problem, _restore_or_repeat(files))


def _pool_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the pool at its newest version."""
    if not files.pool.exists():
        return
    problem = _newest_pool_problem(files.pool)
    if problem:
        yield Damage(problem, _restore_or_repeat(files) if files.result.exists() else _go_back(files))


def _newest_pool_problem(pool: Path) -> str | None:
    try:
        latest = PoolRecord.read(pool).latest
    except DamagedError as error:
        return str(error).partition(";")[0]
    return None if latest is None else pool_problem(pool, latest)


def _part_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the result, the trained learner and the best learner."""
    for part in (files.path, files.learner, files.best):
        if problem := damage(part):
            yield Damage(problem, _go_back(files))


def _log_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the logs' lines."""
    for log in (files.metrics, files.rounds):
        try:
            read_rows(log)
        except DamagedError as error:
            yield Damage(str(error).partition(";")[0], _restore_or_repeat(files))


def _branch_problems(files: RunFiles) -> Iterator[Damage]:
    """Of the branches."""
    for branch in files.branches:
        if problem := damage(branch.path) or damage(branch.learner):
            yield Damage(problem, branch.branch_again)


def _restore_or_repeat(files: RunFiles) -> str:
    return f"restore it, or {files.repeat}"


def _go_back(files: RunFiles) -> str:
    back = f"dp real resume {files.path} goes back to the newest intact checkpoint"
    return f"remove {files.result}, and {back}" if files.result.exists() else back
