"""Branches of a run: the accuracy that each of its pool sizes would have reached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from dp_base.files import remove
from dp_base.progress import Progress, silent
from dp_real.config import Config, load_config
from dp_real.examples import RealData
from dp_real.loop.practice import Practice
from dp_real.pool import Pool
from dp_real.pool.late import when_visible
from dp_real.pool.record import pool_rows, verify_pool
from dp_real.runs.checkpoints import kept_checkpoints, read_state, restore_learner
from dp_real.runs.conclude import conclude
from dp_real.runs.files import RunFiles
from dp_real.runs.folder import BranchFolder, sole_writer
from dp_real.runs.prepare import fresh_learner, load_data, own_torch, validator
from dp_real.runtime import processes
from dp_real.runtime.hub import quietly

log = logging.getLogger(__name__)


@processes.together()
def branch(run: Path, progress: Progress = silent) -> list[dict[str, Any]]:
    """Cool down from each checkpoint before an addition of data (paper section 5, Tables 4 and 5).

    One run gives the whole scaling curve. Returns the result of each pool size, by size, including the run's own if it
    is complete. Each branch leaves its files in branches/SIZE; finished ones are not repeated. Raises InputError if
    `run` is not the folder of a run, or another process is writing there, and DamagedError as `cool_down` does.
    """
    files = RunFiles.of(run)
    with sole_writer(files):
        return cool_down(files, progress)


def cool_down(files: RunFiles, progress: Progress, test: bool = True) -> list[dict[str, Any]]:
    """The same, for the writer of the folder. Raises DamagedError for a checkpoint or a pool that is not intact.

    test: False: look at no test image and no further set, as in dp_real.run. A checkpoint whose state cannot be read is
    left out, with a remark.
    """
    config = load_config(files.config)
    with own_torch(config), quietly():
        data = load_data(config, progress, test=test)
        with processes.main_first() as main:
            planned = _planned(files) if main else []
        results = {}
        for checkpoint, out, result in processes.from_main(planned):
            result = result or _branch_at(checkpoint, out, config, data, files, progress, test)
            results[result["pool_size"]] = result
    own = files.read_result()
    if own:
        results[own["pool_size"]] = own
    elif processes.this_process().is_main_process:
        log.warning("%s is not there: the run's own pool size is left out until dp real resume ends it", files.result)
    return [results[size] for size in sorted(results)]


class Planned(NamedTuple):
    """A branch: the checkpoint that it starts from, its folder, and its result, if it is complete."""

    checkpoint: Path
    out: RunFiles
    result: dict[str, Any] | None


def _planned(files: RunFiles) -> list[Planned]:
    """The branches of a run. The pool of those to come is verified here, once, since they have most files in common."""
    planned, versions = [], []
    for checkpoint in kept_checkpoints(files.checkpoints):
        _, version = read_state(checkpoint)
        out = files.branch(pool_rows(files.pool, version))
        planned.append(Planned(checkpoint, out, out.read_result()))
        versions += [] if planned[-1].result else [version]
    processes.enter("verifying the pool", patient=True)
    verify_pool(files.pool, *versions)
    return planned


def _branch_at(
    checkpoint: Path, out: RunFiles, config: Config, data: RealData, files: RunFiles, progress: Progress, test: bool
) -> dict[str, Any]:
    """The result of the branch that starts at a checkpoint."""
    learner, cooldown = fresh_learner(config), config.training.cooldown_steps
    state, pool_version = when_visible(lambda: restore_learner(learner, checkpoint), checkpoint)
    pool = Pool(files.pool, config.pool_shape, pool_version, config.pool)
    with processes.main_first() as main:
        if main:
            remove(out.path)
            out.path.mkdir(parents=True)
    with progress(f"branch at {len(pool)}", cooldown) as advance:
        folder = BranchFolder(out, advance, state.step)
        practice = Practice(config, learner, None, pool, validator(data), folder, state)
        practice.cool_down()
    return conclude(practice, data, out, test)
