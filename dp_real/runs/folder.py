"""The folder that a run writes: claiming, filling, and restoring it to a checkpoint."""

import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from dp_base.checksums import RECORD, seal
from dp_base.errors import DamagedError, InputError, Interrupted
from dp_base.files import (
    LOCK,
    append_row,
    as_input_error,
    atomic_folder,
    discard_parts,
    remove,
    to_disk,
    unused,
    write_json,
    write_text,
)
from dp_base.locks import locked
from dp_base.reading import KEY, read_json
from dp_real.config import Config, load_config
from dp_real.pool.pool import Pool, pool_problem, read_together
from dp_real.practice.rounds import block_name
from dp_real.practice.section import differences
from dp_real.protocols import Learner
from dp_real.runs.files import FORMAT, LEARNER, STATE, Checkpoint, RunFiles, checkpoints, newest_intact
from dp_real.runs.identity import (
    accept_inputs,
    input_changes,
    input_differences,
    object_digests,
    recorded_inputs,
    versions,
)
from dp_real.runs.loop import LoopState
from dp_real.runtime import distributed
from dp_real.runtime.computing import LEARNER_REMEDY, require_finite

steps_log = logging.getLogger("dp_real.steps")  # one line per evaluation; `dp` shows it if stderr is no terminal
LINES_APART = 5.0  # seconds at least between two lines of that log
AGREE_EVERY = 20  # steps between agreements whether to stop
HOUR = 3600  # seconds
OTHERWISE = "the run will end differently than without this change"
FAILED = "failed"  # a file that marks a first round that an error ended


@dataclass
class RunFolder:
    """What a run writes, in the main process, and requests to stop it.

    `advance` is called with the steps since its last call; `inputs` identify the run, for checkpoints.
    """

    files: RunFiles
    advance: Callable[[int], None]
    step: int = 0
    track: Callable[[dict[str, Any], int], None] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    accept_changes: bool = False

    def __post_init__(self) -> None:
        self.accepted_changes: list[str] = []
        self.surroundings = {"number of processes": distributed.this_process().num_processes} | versions()
        self._must_stop = False
        self._logged_at = time.monotonic()
        self._since_agreed = 0
        self._main = distributed.this_process().is_main_process

    def evaluation(self, row: dict[str, Any], pace: dict[str, float], last_step: int) -> None:
        """Record an evaluation, and log a line unless the last one is younger than LINES_APART."""
        if self._main:
            append_row(self.files.metrics, row)
            if time.monotonic() - self._logged_at > LINES_APART:
                self._logged_at = time.monotonic()
                steps_log.info("%s: %s", self.files.path.name, line(row, pace, last_step))
        if self.track:
            self.track(row | pace, row["step"])
        self.advance(row["step"] - self.step)
        self.step = row["step"]

    def addition(self, row: dict[str, Any]) -> None:
        """Record a round."""
        if self._main:
            append_row(self.files.rounds, row)
        if self.track:
            self.track({f"round/{name}": value for name, value in row.items()}, row["step"])

    def forget_blocks(self) -> None:
        """Delete the round's blocks, when a checkpoint is of its pool."""
        if self._main:
            remove(self.files.drawing)

    def checkpoint(self, state: LoopState, learner: Learner, pool: Pool, keep: bool) -> None:
        """Write a checkpoint, unless it exists. DivergedError if tensors are not finite."""
        folder = self.files.checkpoints
        name = f"step-{state.step:09d}-rounds-{state.rounds:04d}"
        path = folder / (name if keep else f"latest-{name}")
        if not self._main or path.exists():
            return
        older = [] if keep else list(folder.glob("latest-*"))
        tensors = learner.tensors()
        require_finite("the learner's weights", LEARNER_REMEDY, tensors.values())
        with atomic_folder(path) as staged:
            save_file(tensors, staged / LEARNER)
            for log in self.files.logs:
                if log.exists():
                    shutil.copyfile(log, staged / log.name)
            facts = {KEY: FORMAT, "inputs": self.inputs, "surroundings": self.surroundings}
            facts |= {"accepted": self.accepted_changes} if self.accepted_changes else {}
            write_json(staged / STATE, vars(state) | facts)
            seal(staged)
            to_disk(staged)  # before the one that it replaces is deleted
        for each in older:
            remove(each)

    def restore(self, config: Config, learner: Learner) -> tuple[LoopState, Pool]:
        """Restore all files to the newest intact checkpoint, or begin without one, and return state and pool.

        Unless they are accepted, changed inputs raise InputError before anything is written.
        """
        read_together(self.files.pool)
        newest = distributed.on_main(lambda: self._set_back(config))
        state = (
            distributed.when_visible(lambda: newest.restore(learner)) if newest else LoopState(config.training.steps)
        )
        pool = Pool(self.files.pool, config.pool_shape, state.rounds, config.pool, config.task.classes)
        pool.drop_later()
        return state, pool

    def _set_back(self, config: Config) -> Checkpoint | None:
        files = self.files
        newest = newest_intact(files, self._problem)
        record = newest.record if newest else {}
        changed = input_differences(files, record.get("inputs", {}), self.inputs)
        changed = accept_inputs(changed, self.accept_changes, OTHERWISE)
        goes_on = newest and newest.is_kept and not changed
        before, now = record.get("surroundings", {}), self.surroundings
        others = [name for name in now.keys() & before.keys() if now[name] != before[name]]
        sentences = [f"{name}: {before[name]} until step {record['step']}, then {now[name]}" for name in sorted(others)]
        changed += accept_inputs(sentences, True, OTHERWISE)
        self.accepted_changes = list(dict.fromkeys([*record.get("accepted", []), *changed]))
        remove(files.path / RECORD)  # of a complete run
        for checkpoint in checkpoints(files.checkpoints):
            if checkpoint == newest:
                break
            remove(checkpoint.path)
        for log in files.logs:
            remove(log)
            if newest and (copy := newest.path / log.name).exists():
                shutil.copyfile(copy, log)
        if newest:
            # Remaining blocks are this learner's if an addition follows and no input has changed. Trained again on a
            # GPU, it may differ.
            discard_blocks(files.drawing, but=newest.state.rounds if goes_on else None)
            return newest
        remove(files.pool)
        if config.practice.needs_generator:
            # Blocks of a stopped first round stay, unless the run's inputs have changed.
            unchanged = files.drawn_with.exists() and read_json(files.drawn_with) == self.inputs
            discard_blocks(files.drawing, but=0 if unchanged else None)
            files.drawing.mkdir(exist_ok=True)
            write_json(files.drawn_with, self.inputs)
        return None

    def _problem(self, checkpoint: Checkpoint) -> str | None:
        return checkpoint.problem() or pool_problem(self.files.pool, checkpoint.state.rounds)

    def stop_requested(self) -> bool:
        """Whether to stop; several processes agree on it every AGREE_EVERY steps."""
        alone = distributed.this_process().num_processes == 1
        self._since_agreed = (self._since_agreed + 1) % (1 if alone else AGREE_EVERY)
        return self._since_agreed == 0 and self.any_must_stop()

    def any_must_stop(self) -> bool:
        """Whether any process got a signal to stop. All call this."""
        return distributed.any_process(self._must_stop)

    @contextmanager
    def stops_on_signal(self) -> Iterator[None]:
        """STOP_SIGNALS request a stop at the next step; a second Ctrl-C stops at once.

        A second SIGTERM does not: cluster managers send several.
        """

        def ask(number: int, frame: Any) -> None:
            if self._must_stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._must_stop = True

        with distributed.handling_signals(ask):
            try:
                yield
            except distributed.LostError:
                if self._must_stop:
                    raise SystemExit(1) from None
                raise


def line(row: dict[str, Any], pace: dict[str, float], last_step: int) -> str:
    """A run's progress; the remaining time is in proportion to the remaining steps."""
    texts = {
        "images_per_second": "{:,.0f} rows/s",
        "waiting_share": "{:.0%} of the time waiting for rows",
        "gpu_memory": "{:,.0f} bytes of the GPU",
        "gradient_norm": "gradient {:.3g}",
    }
    left = row["seconds"] / row["step"] * (last_step - row["step"])
    return ", ".join(
        [
            f"step {row['step']:,} of {last_step:,}",
            f"accuracy {row['val_accuracy']:.1%}",
            f"pool {row['pool_size']:,}",
            *(text.format(pace[name]) for name, text in texts.items() if name in pace),
            f"{left / HOUR:.1f} h left" if left >= HOUR else f"{left / 60:.0f} min left",
        ]
    )


@contextmanager
def sole_writer(files: RunFiles, resume: bool = False) -> Iterator[None]:
    """Lock a run's folder, in the main process."""
    out = files.path
    with ExitStack() as held:

        def lock() -> None:
            if resume and not out.exists():
                raise InputError(f"there is no run in {out} to resume; leave out that option to begin one")
            held.enter_context(locked(out))
            branches = (out / "branches", *(branch.path for branch in files.branches))
            for part in (files.checkpoints, files.figures, files.drawing, files.learner, *branches):
                discard_parts(part)

        distributed.on_main(lock)
        yield


@contextmanager
def naming_command(command: str) -> Iterator[None]:
    """Give an interrupt the command that continues."""
    try:
        yield
    except KeyboardInterrupt as stop:
        why = f"{stop}: " if str(stop) else ""
        raise Interrupted(f"{why}interrupted: {command} goes on") from None


def claim(config: Config, files: RunFiles, resume: bool, accept_changes: bool) -> dict[str, Any] | None:
    """Claim the folder. If `resume` is set and the run is complete, return its result."""
    out = files.path
    if unused(out):
        with as_input_error(out):
            write_text(files.config, config.to_toml())
        return None
    if not files.is_run:
        if files.result.exists():
            raise DamagedError(f"{files.config} is missing", f"restore it, or remove {out} to train that run again")
        raise InputError(f"{out} holds something else; name a new folder")
    begun = load_config(files.config)
    is_blank = _is_blank(files)
    if differing := differences(begun, config, config.neutral_keys):
        if is_blank:
            remove(files.drawing)
            write_text(files.config, config.to_toml())
            return None
        objects = object_digests(config)
        may = objects.keys() & recorded_inputs(files).keys() if resume else set()  # subject to accept_changes
        for key in [key for key in differing if key not in may][:1]:
            what = f"{key} (an object's code or values)" if key in objects else key
            raise InputError(
                f"{out} holds a run of another configuration: {what} differs; restore it, or name a new folder"
            )
    result = files.read_result()
    if not (resume or is_blank):
        raise InputError(
            f"{out} holds this very run, complete; name another folder or remove it"
            if result
            else f"{out} holds this very run, unfinished; resume it (--resume, resume=True)"
        )
    if result:
        accept_inputs(input_changes(files, config), accept_changes)
    return result


def discard_blocks(folder: Path, but: int | None) -> None:
    """Delete the blocks of all rounds but `but`."""
    for path in folder.glob("*"):
        if but is None or not path.name.startswith(block_name(but, "")):
            remove(path)


def disclaim(files: RunFiles) -> None:
    """Free the folder of a run that failed before training, so that a corrected call can use it."""
    if not _made(files):
        remove(files.config)
    elif _made(files) == {files.drawing.name}:
        (files.drawing / FAILED).touch()


def _is_blank(files: RunFiles) -> bool:
    drawn = {*files.drawing.glob("*")}
    return _made(files) == {files.drawing.name} and (drawn == {files.drawn_with} or files.drawing / FAILED in drawn)


def _made(files: RunFiles) -> set[str]:
    return {path.name for path in files.path.iterdir()} - {files.config.name, LOCK}
