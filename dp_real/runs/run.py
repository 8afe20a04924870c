from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from dp_base.checksums import digest
from dp_base.errors import DivergedError, InputError, MissingError
from dp_base.progress import Progress, progress, showing
from dp_real.config import Config, load_config, parse_config
from dp_real.plan.needs import tracker
from dp_real.pool.marks import read_marks
from dp_real.practice.objects import is_pipeline, with_objects
from dp_real.practice.rounds import Rounds
from dp_real.practice.section import flat
from dp_real.runs.conclude import conclude
from dp_real.runs.files import RunFiles, newest_intact
from dp_real.runs.folder import RunFolder, claim, disclaim, naming_command, sole_writer
from dp_real.runs.identity import CONFIG, drawing_identity, input_digests
from dp_real.runs.loop import TrainingLoop
from dp_real.runs.prepare import (
    check_plan,
    check_real_examples,
    fresh_learner,
    load_data,
    load_generator,
    torch_settings,
)
from dp_real.runtime import distributed


@distributed.together()
def run(
    config: Config | Mapping[str, Any],
    folder: str | Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    progress: Progress | None = None,
    test: bool = True,
    shared: Path | None = None,
    learner: Any = None,
    generator: Any = None,
    data: Any = None,
    objective: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Any]:
    """Train by deliberate practice, and write the run to a folder.

    Parameters
    ----------
    config
        A Config, or its sections as dicts. Sections that objects replace may be left out.
    folder
        The run's folder.
    resume
        Whether to continue this configuration's run in the folder, unless it is finished. Keys that no sample depends
        on, such as a generator's budget, may differ.
    accept_changes
        Whether to continue although what the run depends on has changed. The result lists it.
    progress
        What shows how far the work is; by default what the block of `dp_base.progress.showing` around it names, if any.
    test
        Whether to evaluate the test set and further sets; if not, `test_accuracy` is None.
    shared
        A folder of rows that other runs draw, too. It changes no result.
    learner
        A torch module, samples [B, *shape] to logits [B, K], or a function of the Task that makes one.
    generator
        A function (labels int64 [1], torch.Generator) -> samples float [1, *shape], images in [-1, 1]. Or a
        Generator (dp_real.protocols), which may take guidance.
    data
        RealData (dp_real.data.examples), or {"validation": (x, y), "test": (x, y), "train": (x, y)}.
    objective
        What makes a sample hard: a differentiable function of logits [B, K] to one number for each row.

    Returns
    -------
    dict[str, Any]
        The content of result.json.

    Raises
    ------
    InputError
        If the folder is in use, the configuration does not fit its data, or what a resumed or finished run depends on
        has changed.
    MissingError
        If something is missing.
    DamagedError
        If files of the run are damaged, and every checkpoint needs them.
    DivergedError
        When numbers are not finite. The last checkpoint before that stays.
    Interrupted
        On Ctrl-C or another of STOP_SIGNALS, or when a generator's budget is spent.
    """
    if not isinstance(config, Config | Mapping):
        raise InputError(f"config = {config!r}: should be a dictionary, or what dp_real.load_config(FILE) returns")
    raw = config.model_dump() if isinstance(config, Config) else config
    objects = {"learner": learner, "generator": generator, "data": data}
    for name, thing in objects.items() if raw is config else ():
        has_keys = is_pipeline(thing) and "kind" not in raw.get(name, {})  # prompts and the like
        if thing is not None and raw.get(name) and not has_keys:
            raise InputError(f"{name} is given as an object, and config has a section {name}: leave one out")
    objects["objective"] = objective
    with with_objects(raw, **objects) as raw, showing(progress):
        # An object may change the current folder.
        own = any(each is not None for each in objects.values())
        files = RunFiles(Path(folder).absolute() if own else Path(folder))
        config = parse_config(raw, folder=Path.cwd()).resolved()
        return _run(config, files, resume, accept_changes, test, shared)


def _run(
    config: Config,
    files: RunFiles,
    resume: bool,
    accept_changes: bool,
    test: bool,
    shared: Path | None,
) -> dict[str, Any]:
    def threads() -> int:
        """The number of threads, on which results depend: a resumed run keeps its own, and 0 means torch's."""
        begun = load_config(files.config) if resume and files.config.exists() else config
        return config.threads or begun.threads or torch.get_num_threads()

    with sole_writer(files, resume):
        config = config.model_copy(update={"threads": distributed.on_main(threads)})
        result = distributed.on_main(lambda: claim(config, files, resume, accept_changes))
        with naming_command(files.resume), torch_settings(config):
            try:
                return result or _train(config, files, test, shared, accept_changes)
            except Exception:
                if distributed.this_process().is_main_process:
                    disclaim(files)
                raise


def _train(config: Config, files: RunFiles, test: bool, shared: Path | None, accept_changes: bool) -> dict[str, Any]:
    if config.tracker != "none" and (problem := tracker(config.tracker).problem):
        raise MissingError(problem)
    read_marks(config.pool.marks)  # raises before anything is trained
    data = load_data(config, test=test)
    check_plan(config)
    check_real_examples(config, data)
    generator = load_generator(config, data) if config.practice.needs_generator else None
    learner = fresh_learner(config)
    recorded = distributed.on_main(lambda: {CONFIG: digest(files.config)} | input_digests(config, data, test=test))
    shared = shared and shared / drawing_identity(config, recorded)
    with progress(config.name, config.training.steps) as advance, tracking(config, files) as track:
        folder = RunFolder(files, advance, track=track, inputs=recorded, accept_changes=accept_changes)
        state, pool = folder.restore(config, learner)
        rounds = Rounds(config, pool, files.drawing, generator, data, shared, folder.any_must_stop)
        loop = TrainingLoop(config, pool, state, rounds, learner, data, folder)
        try:
            with folder.stops_on_signal():
                loop.run()
        except DivergedError as error:
            last = newest_intact(files)
            last_good = (
                f"the last good checkpoint stays: {last.path}" if last else f"{files.path} has no checkpoint yet"
            )
            raise DivergedError(f"{error}; {last_good}") from error
    facts = {"threads": torch.get_num_threads(), "inputs": recorded, "accepted_changes": folder.accepted_changes}
    return conclude(loop, test, facts)


@contextmanager
def tracking(config: Config, files: RunFiles) -> Iterator[Callable[[dict[str, Any], int], None] | None]:
    """Yield a function that logs a row and step to the dashboard, in the main process; else None."""
    if config.tracker == "none" or not distributed.this_process().is_main_process:
        yield None
        return
    accelerator = Accelerator(
        log_with=config.tracker, project_dir=files.path, cpu=not torch.cuda.is_available(), mixed_precision="no"
    )
    wandb = {
        "dir": str(files.path),
        "name": config.name,
        "resume": "allow",
        "id": f"{files.config.stat().st_mtime_ns:x}",  # equal when the run is resumed
        "settings": {"x_disable_meta": True},  # it would send the command line, secrets included
    }
    settings = flat(config.model_dump(mode="json"))
    loggable = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.items()}
    accelerator.init_trackers("deliberate-practice", loggable, {"wandb": wandb})
    try:
        yield lambda row, step: accelerator.log(row, step=step)
    finally:
        # accelerator.end_training would also end the process group, which the evaluation still needs.
        for dashboard in accelerator.trackers:
            dashboard.finish()
