"""Runs one configuration in one folder, from start to result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp_base.errors import DivergedError, Interrupted
from dp_base.progress import Progress, silent
from dp_real.config import Config
from dp_real.estimate.flops import MeasuredFlops
from dp_real.loop.distinct import DistinctTexts
from dp_real.loop.practice import Practice
from dp_real.pool import Pool
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.real import RealRounds, RealStart
from dp_real.rounds.shared import Shared
from dp_real.rounds.source import GeneratedRounds, Source
from dp_real.runs.branch import cool_down
from dp_real.runs.checkpoints import newest_checkpoint
from dp_real.runs.conclude import conclude
from dp_real.runs.files import RunFiles
from dp_real.runs.folder import RunFolder, claim, disclaim, sole_writer
from dp_real.runs.integrity import inputs
from dp_real.runs.prepare import Parts, own_torch, prepare, validator
from dp_real.runs.tracking import check_tracker, tracking
from dp_real.runtime import processes
from dp_real.runtime.hub import quietly


@processes.together()
def run(
    config: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    test: bool = True,
    shared: Shared | None = None,
) -> dict[str, Any]:
    """Train by deliberate practice in a folder; returns the content of result.json.

    resume: go on with this configuration's run in the folder; a finished one is not repeated. test: False: look at no
    test image and no further set, to choose settings; test_accuracy is None then. shared: where other runs draw some of
    the same rows; the result is as if this run had drawn its own. Raises InputError if the folder is in use, also by
    another process, or the configuration does not fit its data; MissingError if something needed is not there;
    DamagedError if files of the run are damaged and no checkpoint goes without them; and Interrupted on Ctrl-C or
    SIGTERM, after which the run can be resumed. Raises DivergedError, which names the step and the keys, once numbers
    are not finite; the last checkpoint before that stays.
    """
    config, files = config.resolved(), RunFiles(Path(folder))
    with sole_writer(files, resume):
        with processes.main_first() as main:
            finished = claim(config, files, resume) if main else None
        result = processes.from_main(finished)
        if not result:
            with own_torch(config), quietly():
                result = _train(config, files, progress, test, shared)
        if config.practice.branch:
            cool_down(files, progress, test)
    return result


def _train(config: Config, files: RunFiles, progress: Progress, test: bool, shared: Shared | None) -> dict[str, Any]:
    """Train a new run, or the rest of one, in a folder that is claimed."""
    try:
        check_tracker(config)
        parts = prepare(config, progress, test=test)
    except Exception:
        if processes.this_process().is_main_process:
            disclaim(files)
        raise
    with progress(config.name, config.training.steps) as advance, tracking(config, files.path) as tracker:
        folder = RunFolder(files, advance, tracker=tracker, inputs=inputs(files, parts.data))
        state, pool = folder.restore(config, parts.learner)
        blocks = Blocks(config.sampling.block_size, folder.files.drawing, folder.told_to_stop, progress)
        source = _source(config, parts, pool, blocks, shared)
        practice = Practice(config, parts.learner, source, pool, validator(parts.data), folder, state)
        try:
            with folder.stops_on_signal():
                practice.run()
        except Interrupted:
            message = f"interrupted at step {state.step}: dp real resume {files.path} goes on"
            raise Interrupted(message) from None
        except DivergedError as error:
            last = newest_checkpoint(files.checkpoints)
            kept = f"the last good checkpoint stays: {last}" if last else "there is no checkpoint yet"
            raise DivergedError(f"{error}; {kept}") from error
    return conclude(practice, parts.data, files, test)


def _source(config: Config, parts: Parts, pool: Pool, blocks: Blocks, shared: Shared | None) -> Source:
    """The source of this run's examples."""
    real = RealRounds(config, parts.data.generator, pool.storage)
    source: Source = real
    if parts.generator is not None:
        flops = MeasuredFlops(config, parts.generator, parts.learner)
        drawn = GeneratedRounds(config, parts.generator, pool.storage, blocks, flops, shared)
        source = RealStart(real, drawn) if config.practice.start == "real" else drawn
    filtered = config.pool.distinct and config.practice.examples == "generated"
    return DistinctTexts(source, pool, parts.data.validation, config.pool.distinct) if filtered else source
