"""Branches of a run: the accuracy that each of its pool sizes would have reached."""

import logging
import shlex
from pathlib import Path
from typing import Any

from dp_base.errors import MissingError
from dp_base.files import remove
from dp_base.locks import locked_beside
from dp_base.progress import progress
from dp_base.reading import own_file
from dp_base.workers import in_parallel
from dp_real.config import Config, load_config
from dp_real.data.examples import RealData
from dp_real.pool.pool import REMEDY, Pool, read_round, read_together, rounds_of, verify_pool
from dp_real.runs.conclude import conclude
from dp_real.runs.files import Checkpoint, RunFiles, kept_checkpoints
from dp_real.runs.folder import RunFolder, naming_command, sole_writer
from dp_real.runs.identity import accept_inputs, input_changes
from dp_real.runs.loop import TrainingLoop
from dp_real.runs.prepare import fresh_learner, load_data, torch_settings
from dp_real.runtime import distributed

log = logging.getLogger(__name__)


@distributed.together()
def branch(run: Path, workers: int | None = 1, accept_changes: bool = False) -> list[dict[str, Any]]:
    """Cool down from each checkpoint before an addition (paper section 5, Tables 4 and 5).

    Returns the result of each pool size, with the run's own if it is complete. Finished branches are not repeated.
    workers: branches at a time; a lost one starts over. 1: all processes share each; None: as many as the cluster
    takes; a run of Python objects has one at a time. Results list inputs that changed and were accepted.
    """
    files = RunFiles.open(run)

    with sole_writer(files), naming_command(shlex.join(["dp", "real", "branch", str(run)])):
        changed = distributed.on_main(lambda: accept_inputs(input_changes(files), accept_changes))
        config = load_config(files.config)
        read_together(files.pool)
        ended, left = distributed.on_main(lambda: _plan(files))
        if left and (workers == 1 or files.takes_objects):  # other processes have none
            with torch_settings(config):
                data = load_data(config)
                ended += [_branch_at(at, out, config, files, data, changed) for at, out in left]
        elif left:
            jobs = [(at, out, config, files, changed) for at, out in left]
            with progress("branches", len(jobs)) as advance:
                for result in in_parallel(workers, _branch_alone, jobs, distributed.visible_gpus()):
                    ended.append(result)
                    advance(1)
        if own := files.read_result():
            ended.append(own)
        elif distributed.this_process().is_main_process:
            log.warning(
                "%s is missing: the run's own pool size is left out until %s ends it", files.result, files.resume
            )
        results = {result["pool_size"]: result for result in ended}
        return [results[size] for size in sorted(results)]


def _plan(files: RunFiles) -> tuple[list[dict[str, Any]], list[tuple[Checkpoint, Path]]]:
    """Results of finished branches, and the others with the checkpoints from which they start."""
    ended, left, newest = [], [], 0
    with own_file(files.pool, REMEDY):
        counts = [len(read_round(folder)) for folder in rounds_of(files.pool)]
    checkpoints_of, gone = {at.state.rounds: at for at in kept_checkpoints(files.checkpoints)}, 0
    for rounds in range(1, len(counts) + 1):
        out = files.branch(sum(counts[:rounds]))
        if result := out.read_result():
            ended.append(result)
        elif rounds in checkpoints_of:
            left.append((checkpoints_of[rounds], out.path))
            newest = rounds
        elif rounds < len(counts):
            gone += not [*files.checkpoints.glob(f"step-*-rounds-{rounds:04d}")]  # a damaged one has been reported
    if gone and not ended + left:
        raise MissingError(
            f"{files.checkpoints}: those before additions, where branches begin, are missing: {files.repeat}"
        )
    if gone:
        log.warning("%s: %d before additions are missing; their sizes are left out", files.checkpoints, gone)
    verify_pool(files.pool, newest)
    return ended, left


def _branch_alone(at: Checkpoint, out: Path, config: Config, files: RunFiles, changed: list[str]) -> dict[str, Any]:
    """A branch's result, computed in its own process, while the command's process locks the folder."""
    with locked_beside(out), torch_settings(config):
        return _branch_at(at, out, config, files, load_data(config), changed)


def _branch_at(
    at: Checkpoint,
    out: Path,
    config: Config,
    files: RunFiles,
    data: RealData,
    changed: list[str],
) -> dict[str, Any]:
    learner = fresh_learner(config)
    state = distributed.when_visible(lambda: at.restore(learner))
    pool = Pool(files.pool, config.pool_shape, state.rounds, config.pool)

    def begin() -> None:
        remove(out)
        out.mkdir(parents=True)

    distributed.on_main(begin)
    with progress(f"branch at {len(pool)}", config.training.cooldown_steps) as advance:
        folder = RunFolder(RunFiles(out), advance, state.step)
        loop = TrainingLoop(config, pool, state, None, learner, data, folder)
        loop.cool_down()
    return conclude(loop, facts={"accepted_changes": changed} if changed else {})
