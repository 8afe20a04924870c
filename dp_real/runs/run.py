"""Runs one configuration in one folder, from start to result."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from dp_base.errors import DivergedError, Interrupted
from dp_base.progress import Progress, silent
from dp_real.alerts import Alerts, alert, alerting
from dp_real.config import Config, anchored, load_config
from dp_real.estimate.needs import few_cores
from dp_real.estimate.sample_flops import MeasuredFlops
from dp_real.loop.practice import Practice
from dp_real.loop.training import Training
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.distinct import DistinctRounds, UnmarkedRounds
from dp_real.rounds.drawing_costs import Prices, no_price
from dp_real.rounds.real import RealRounds, RealStart
from dp_real.rounds.samples import SampleDrawer
from dp_real.rounds.shared import Shared
from dp_real.rounds.source import GeneratedRounds, Source
from dp_real.runs.branch import cool_down
from dp_real.runs.checkpoints import newest_checkpoint
from dp_real.runs.conclude import conclude
from dp_real.runs.folder import RunFolder, claim, disclaim, naming_command, sole_writer
from dp_real.runs.identity import accepted, changes, drawing_identity, identity
from dp_real.runs.prepare import Parts, own_torch, prepare, validator
from dp_real.runs.run_files import RunFiles
from dp_real.runs.tracking import check_tracker, tracking
from dp_real.runtime import processes
from dp_real.runtime.hub import quietly

log = logging.getLogger(__name__)


@processes.together()
def run(
    config: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    progress: Progress = silent,
    test: bool = True,
    shared: Shared | None = None,
) -> dict[str, Any]:
    """Train by deliberate practice, in a folder.

    Parameters
    ----------
    config
        What to run.
    folder
        Where the run leaves its files; it is made.
    resume
        Go on with this configuration's run in the folder. A finished one is not repeated. Keys that no sample depends
        on, such as a generator's budget, may have other values than it began with.
    accept_changes
        Go on although what the run depends on, such as its test set, is not what it was. The result lists what changed.
    progress
        Shows how far the run is.
    test
        Whether to look at test images and further sets. Without, `test_accuracy` is None: to choose settings.
    shared
        Where other runs draw some of the same rows. The result is as if this run had drawn its own.

    Returns
    -------
    dict[str, Any]
        The content of result.json.

    Raises
    ------
    InputError
        If the folder is in use, also by another process, if the configuration does not fit its data, or if what a
        resumed or finished run depends on has changed.
    MissingError
        If something that the run needs is not there.
    DamagedError
        If files of the run are damaged, and no checkpoint goes without them.
    DivergedError
        Once numbers are not finite. The message names the step and the keys. The last checkpoint before that stays.
    Interrupted
        On Ctrl-C or another of STOP_SIGNALS, and once a generator's budget is spent. The run can be resumed.
    """
    config = anchored(config, Path.cwd()).resolved()
    files = RunFiles(Path(folder))
    with sole_writer(files, resume):
        config = config.model_copy(update={"threads": _threads(config, files, resume)})
        with processes.main_first() as main:
            finished = claim(config, files, resume) if main else None
            if finished:
                accepted(changes(files), accept_changes)
        result = processes.from_main(finished)
        with naming_command(f"dp real resume {files.path}"):
            if not result:
                main = processes.this_process().is_main_process
                with own_torch(config), quietly(), alerting(Alerts.of(config.alert, files.path)):
                    result = _train(config, files, progress, test, shared, accept_changes)
                    if main:
                        alert("finish", test_accuracy=result["test_accuracy"], seconds=result["seconds"])
            if config.practice.branch:
                cool_down(files, progress, test)
    return result


def _threads(config: Config, files: RunFiles, resume: bool) -> int:
    """The number of torch's threads, by which results differ. A run that is resumed keeps the one that it began with.

    `threads = 0` takes the number that torch has chosen in the main process.
    """
    with processes.main_first() as main:
        chosen = config.threads
        if main and not chosen:
            begun = load_config(files.config) if resume and files.config.exists() else config
            chosen = begun.threads or torch.get_num_threads()
    return processes.from_main(chosen)


def _train(
    config: Config, files: RunFiles, progress: Progress, test: bool, shared: Shared | None, accept_changes: bool
) -> dict[str, Any]:
    """Train a new run, or the rest of one, in a folder that is claimed."""
    try:
        check_tracker(config)
        parts = prepare(config, progress, test=test)
    except Exception:
        if processes.this_process().is_main_process:
            disclaim(files)
        raise
    if processes.this_process().is_main_process and (remark := few_cores(config)):
        log.warning("%s: %s", config.name, remark)
    with progress(config.name, config.training.steps) as advance, tracking(config, files.path) as tracker:
        noted = identity(files, config, parts.data, test=test)
        shared = shared and shared.of(processes.from_main(drawing_identity(config, noted)))
        folder = RunFolder(files, advance, tracker=tracker, inputs=noted, accept_changes=accept_changes)
        state, pool = folder.restore(config, parts.learner)
        training = Training(
            config, parts.learner, pool, validator(parts.data), folder, state, len(parts.data.validation.y)
        )
        blocks = Blocks(config.sampling.block_size, files.drawing, folder.told_to_stop, progress)
        practice = _practice(training, parts, blocks, shared)
        try:
            with folder.stops_on_signal():
                practice.run()
        except Interrupted as stop:
            why = f"{stop}: " if str(stop) else ""
            message = f"{why}interrupted at step {state.step}: dp real resume {files.path} goes on"
            raise Interrupted(message) from None
        except DivergedError as error:
            last = newest_checkpoint(files.checkpoints)
            kept = f"the last good checkpoint stays: {last}" if last else "there is no checkpoint yet"
            if processes.this_process().is_main_process:
                alert("collapse", step=state.step, message=str(error))
            raise DivergedError(f"{error}; {kept}") from error
    facts = {"threads": torch.get_num_threads(), "inputs": noted, "accepted_changes": folder.accepted}
    return conclude(training, parts.data, files, test, facts)


def _practice(training: Training, parts: Parts, blocks: Blocks, shared: Shared | None) -> Practice:
    """The loop, with the source that the configuration asks for."""
    if parts.generator is None:
        return Practice(training, _chosen(_real(parts, training), parts, training), no_price)
    config = training.config
    drawer = SampleDrawer(config, parts.generator, training.pool.storage)
    generated = GeneratedRounds(drawer, blocks, shared)
    mixed = config.practice.start == "real"
    source = RealStart(_real(parts, training), generated) if mixed else generated
    prices = Prices(config, MeasuredFlops(drawer, parts.learner))
    return Practice(training, _chosen(source, parts, training), prices.price)


def _real(parts: Parts, training: Training) -> RealRounds:
    """The source of real examples."""
    examples = parts.data.generator
    assert examples is not None, "check_real_examples has counted them"
    return RealRounds(training.config, examples, training.pool.storage)


def _chosen(source: Source, parts: Parts, training: Training) -> Source:
    """The source without examples that are marked or nearly alike, if the configuration asks for that."""
    if parts.marks:
        source = UnmarkedRounds(source, training.pool.storage, training.config.task.classes, parts.marks)
    likeness = training.config.pool.distinct
    if likeness == 0 or training.config.practice.examples == "real":
        return source
    kind = training.config.data
    near = kind.near(likeness)
    assert near is not None, "the configuration refuses pool.distinct for other kinds"
    return DistinctRounds(source, training.pool, parts.data.validation, near, likeness, kind.examples)
