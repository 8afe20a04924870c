"""Branches of a run: the accuracy that each of its pool sizes would have reached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_base.files import remove
from dp_base.locks import locked_beside
from dp_base.progress import Progress, silent
from dp_base.workers import in_parallel
from dp_real import distributed
from dp_real.config import Config, load_config
from dp_real.distributed import when_visible
from dp_real.examples import RealData
from dp_real.pool import Pool
from dp_real.pool.pool import recorded_rows, verify_pool
from dp_real.practice import Practice
from dp_real.runs.checkpoints import kept_checkpoints, read_state, restore_learner
from dp_real.runs.conclude import conclude
from dp_real.runs.folder import BranchFolder, naming_command, sole_writer
from dp_real.runs.identity import accepted, changes
from dp_real.runs.prepare import fresh_learner, load_data, own_torch, validator
from dp_real.runs.run_files import RunFiles
from dp_real.runtime.hub import quietly

log = logging.getLogger(__name__)


@distributed.together()
def branch(
    run: Path, progress: Progress = silent, workers: int | None = 1, accept_changes: bool = False
) -> list[dict[str, Any]]:
    """Cool down from each checkpoint before an addition (paper section 5, Tables 4 and 5).

    Returns the result of each pool size, the run's own too if complete; finished branches are not repeated. workers:
    branches at a time; None: as many as the cluster takes.
    """
    files = RunFiles.of(run)
    with sole_writer(files), naming_command(f"dp real branch {run}"):
        changed = distributed.on_main(lambda: accepted(changes(files), accept_changes))
        return cool_down(files, progress, workers=workers, changed=changed)


def cool_down(
    files: RunFiles, progress: Progress, test: bool = True, workers: int | None = 1, changed: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The same for the folder's writer; `changed` inputs, which were accepted, are listed in results.

    One worker: all processes share the work on each branch. Several: a lost branch starts over.
    """
    config = load_config(files.config)
    planned = distributed.on_main(lambda: _planned(files, changed))
    ended = [plan.result for plan in planned if plan.result]
    left = [plan for plan in planned if not plan.result]
    if workers == 1:
        with own_torch(config), quietly():
            data = load_data(config, progress, test=test)
            ended += [_branch_at(plan, config, data, files.pool, progress, test) for plan in left]
    else:
        config.data.prepare(progress)
        jobs = [(plan, config, files.pool, test) for plan in left]
        with progress("branches", len(jobs)) as advance:
            for result in in_parallel(workers, _branch_alone, jobs, distributed.visible_gpus(), name=_name):
                ended.append(result)
                advance(1)
    results = {result["pool_size"]: result for result in ended}
    own = files.read_result()
    if own:
        results[own["pool_size"]] = own
    elif distributed.this_process().is_main_process:
        log.warning("%s is not there: the run's own pool size is left out until dp real resume ends it", files.result)
    return [results[size] for size in sorted(results)]


def _branch_alone(plan: BranchPlan, config: Config, pool_folder: Path, test: bool) -> dict[str, Any]:
    """A branch's result in a process of its own, while the command's process is the folder's writer."""
    with locked_beside(plan.out.path), own_torch(config), quietly():
        data = load_data(config, test=test)
        return _branch_at(plan, config, data, pool_folder, silent, test)


def _name(plan: BranchPlan, *others: Any) -> str:
    return f"branch at {int(plan.out.path.name)}"


@dataclass(frozen=True)
class BranchPlan:
    """A branch: where it starts, and what there is of it."""

    checkpoint: Path  # that it starts from
    out: RunFiles  # its folder
    result: dict[str, Any] | None  # None: it is not complete
    changed: Sequence[str] = ()  # since the run began


def _planned(files: RunFiles, changed: Sequence[str]) -> list[BranchPlan]:
    """Pools of branches to come are verified together, as they share most files."""
    planned: list[BranchPlan] = []
    versions: list[int] = []
    for checkpoint in kept_checkpoints(files.checkpoints):
        _, version = read_state(checkpoint)
        out = files.branch(recorded_rows(files.pool, version))
        result = out.read_result()
        planned.append(BranchPlan(checkpoint, out, result, changed))
        if result is None:
            versions.append(version)
    verify_pool(files.pool, max(versions, default=0))
    return planned


def _branch_at(
    plan: BranchPlan, config: Config, data: RealData, pool_folder: Path, progress: Progress, test: bool
) -> dict[str, Any]:
    learner = fresh_learner(config)
    state, pool_version = when_visible(lambda: restore_learner(learner, plan.checkpoint))
    pool = Pool(pool_folder, config.pool_shape, pool_version, config.pool)

    def begin() -> None:
        remove(plan.out.path)
        plan.out.path.mkdir(parents=True)

    distributed.on_main(begin)
    with progress(f"branch at {len(pool)}", config.training.cooldown_steps) as advance:
        folder = BranchFolder(plan.out, advance, state.step)
        practice = Practice(config, learner, pool, validator(data), folder, state)
        practice.cool_down()
    facts = {"accepted_changes": list(plan.changed)} if plan.changed else None
    return conclude(practice, data, plan.out, test, facts)
