"""The folder that a run writes: claimed before, filled as it runs, set back to a checkpoint on resuming."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from dp_base.checksums import RECORD
from dp_base.errors import STOP_SIGNALS, DamagedError, InputError, Interrupted
from dp_base.files import (
    LOCK,
    asked_for,
    discard_parts,
    remove,
    unused,
    whole_file,
    write_json,
    write_text,
)
from dp_base.locks import locked
from dp_base.reading import read_json
from dp_real import distributed
from dp_real.accounts import line
from dp_real.config import Config, load_config
from dp_real.distributed import when_visible
from dp_real.pool import Pool
from dp_real.pool.pool import pool_problem
from dp_real.practice import LoopState
from dp_real.protocols import Learner
from dp_real.rounds import block_name
from dp_real.runs.checkpoints import (
    checkpoint_problem,
    checkpoints,
    cut_logs,
    is_kept,
    log_marks,
    log_problem,
    newest_intact,
    read_record,
    read_state,
    restore_learner,
    write_checkpoint,
)
from dp_real.runs.identity import accepted, changes, differences
from dp_real.runs.run_files import RunFiles, append_row
from dp_real.runtime.pixels import fit, mosaic, to_bytes, to_float

log = logging.getLogger(__name__)
steps_log = logging.getLogger("dp_real.steps")  # a line an evaluation; `dp` shows it where stderr is no terminal

Tracker = Callable[[dict[str, Any], int], None]
"""tracker(row, step) is called with each evaluation and addition."""

LINES_APART = 5.0  # seconds at least between two lines of that log
SHOWN = 64  # images in the picture of a round
THUMBNAIL = 128  # pixels a side of those that are larger
AGREE_EVERY = 20  # steps between asking all processes whether one was told to stop


class RunFolder:
    """A Recorder on disk, of which the main process writes."""

    def __init__(
        self,
        files: RunFiles,
        advance: Callable[[int], None],
        step: int = 0,
        tracker: Tracker | None = None,
        inputs: dict[str, str] | None = None,
        accept_changes: bool = False,
    ) -> None:
        """advance: called with the steps since its last call. inputs: the run's identity, for checkpoints."""
        self.files = files
        self._track = tracker or (lambda row, step: None)
        self._advance = advance
        self._step = step
        self._inputs = inputs or {}
        self._accept_changes = accept_changes
        self.accepted: list[str] = []
        self._asked = False
        self._told_at = time.monotonic()
        self._since_agreed = 0
        here = distributed.this_process()
        self._main = here.is_main_process
        self._alone = here.num_processes == 1

    def evaluation(self, row: dict[str, Any], pace: dict[str, float], last_step: int) -> None:
        """The log gets a line, unless the last one is younger than LINES_APART."""
        if self._main:
            append_row(self.files.metrics, row)
            if time.monotonic() - self._told_at > LINES_APART:
                self._told_at = time.monotonic()
                steps_log.info("%s: %s", self.files.path.name, line(row, pace, last_step))
        self._track(row | pace, row["step"])
        self._advance(row["step"] - self._step)
        self._step = row["step"]

    def addition(self, row: dict[str, Any], pool: Pool) -> None:
        """Some new images go to figures/round-INDEX.png."""
        if self._main:
            append_row(self.files.rounds, row)
            show_newest(pool, self.files.figures / f"round-{row['round']}.png")
        self._track({f"round/{name}": value for name, value in row.items()}, row["step"])

    def checkpoint(self, state: LoopState, learner: Learner, pool: Pool, keep: bool) -> None:
        if self._main:
            write_checkpoint(
                self.files.checkpoints, state, learner, pool, keep, log_marks(self.files), self._inputs, self.accepted
            )

    def restore(self, config: Config, learner: Learner) -> tuple[LoopState, Pool]:
        """State and pool of the newest intact checkpoint, to which all else is set back; None: start afresh.

        Changed inputs that are not accepted raise InputError before anything is touched.
        """
        files = self.files
        shape = config.pool_shape
        newest = distributed.on_main(lambda: self._set_back(config))
        if newest is None:
            return LoopState(config.training.steps), Pool(files.pool, shape, 0, config.pool, config.task.classes)
        state, pool_version = when_visible(lambda: restore_learner(learner, newest))
        pool = Pool(files.pool, shape, pool_version, config.pool, config.task.classes)
        pool.drop_later()
        if self._main:
            cut_logs(files, newest)
            # Blocks that remain are this learner's, if additions begin with it. Trained again on a GPU, it may differ.
            discard_blocks(files.drawing, but=state.rounds if is_kept(newest) else None)
        return state, pool

    def _set_back(self, config: Config) -> Path | None:
        """The newest intact checkpoint; what came after it is removed, and will be written again."""
        files = self.files
        newest = resumable(files)
        self._check_inputs(newest)
        remove(files.path / RECORD)  # of a complete run
        for path in checkpoints(files.checkpoints):
            if path == newest:
                return newest
            remove(path)
        for path in (files.pool, files.metrics, files.rounds):
            remove(path)
        if config.practice.draws:
            self._keep_first_blocks()
        return None

    def _keep_first_blocks(self) -> None:
        """Keep the blocks of a stopped first round, unless the run's inputs have changed."""
        note = self.files.drawn_with
        unchanged = note.exists() and read_json(note) == self._inputs
        discard_blocks(self.files.drawing, but=0 if unchanged else None)
        self.files.drawing.mkdir(exist_ok=True)
        write_json(note, self._inputs)

    def _check_inputs(self, newest: Path | None) -> None:
        record = {} if newest is None else read_record(newest)
        changed = differences(self.files, record.get("inputs", {}), self._inputs)
        changed = accepted(changed, self._accept_changes, "the run will not end as it would have")
        self.accepted = list(dict.fromkeys([*record.get("accepted", []), *changed]))

    def stop_requested(self) -> bool:
        """Several processes must agree, which they do every AGREE_EVERY steps."""
        self._since_agreed = (self._since_agreed + 1) % AGREE_EVERY
        return self._asked if self._alone else self._since_agreed == 0 and self.told_to_stop()

    def told_to_stop(self) -> bool:
        """All processes call it together."""
        return distributed.any_process(self._asked)

    @contextmanager
    def stops_on_signal(self) -> Iterator[None]:
        """STOP_SIGNALS ask for a stop at the next step; a second Ctrl-C stops at once.

        A second SIGTERM does not: cluster managers send several.
        """

        def ask(number: int, frame: Any) -> None:
            if self._asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked = True

        try:
            before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
        except ValueError:  # not the main thread: the caller handles signals
            yield
            return
        try:
            yield
        except distributed.LostError:
            if self._asked:
                raise SystemExit(1) from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class BranchFolder(RunFolder):
    """A run's folder without checkpoints: a stopped branch starts over."""

    def checkpoint(self, state: LoopState, learner: Learner, pool: Pool, keep: bool) -> None: ...


@contextmanager
def sole_writer(files: RunFiles, resume: bool = False) -> Iterator[None]:
    """Hold the lock of a run's folder, in the main process."""
    out = files.path
    with ExitStack() as held:

        def lock() -> None:
            if out.exists() and not out.is_dir():
                raise InputError(f"--out {out} is a file; name a folder")
            if resume and not out.is_dir():
                raise InputError(f"--resume: there is no run in {out}; leave --resume out to begin one")
            held.enter_context(locked(out))
            branches = (out / "branches", *(branch.path for branch in files.branches))
            for part in (files.checkpoints, files.figures, files.drawing, files.learner, *branches):
                discard_parts(part)

        distributed.on_main(lock)
        yield


def show_newest(pool: Pool, path: Path) -> None:
    """Draw at most SHOWN images of the latest round, evenly spaced."""
    shape = pool.x.shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        return
    rows = torch.linspace(len(pool) - pool.newest, len(pool) - 1, min(SHOWN, pool.newest)).round().long()
    images = to_float(pool.minibatch(rows)[0])
    if max(shape[2:]) > THUMBNAIL:
        images = fit(images, (shape[1], THUMBNAIL, THUMBNAIL))
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as partial:
        mosaic(to_bytes(images)).save(partial)


@contextmanager
def naming_command(command: str) -> Iterator[None]:
    """Name the command that goes on in an interrupt that says nothing, before the first step or after the last."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(str(stop) or f"interrupted: {command} goes on") from None


def claim(config: Config, files: RunFiles, resume: bool, accept_changes: bool) -> dict[str, Any] | None:
    """Claim the folder for this run, or return its result if it is complete and `resume` is set."""
    out = files.path
    if not unused(out):
        if files.result.exists() and not files.config.exists():
            raise DamagedError(f"{files.config} is missing", f"restore it, or remove {out} to train that run again")
        held = load_config(files.config) if files.config.exists() else None
        same = held is not None and config.goes_on_from(held)
        result = files.read_result()
        if not same:
            raise InputError(f"--out {out} holds something else, or a run of another configuration; name a new folder")
        if not resume:
            raise InputError(
                f"--out {out} holds this very run, complete; name another folder or remove it"
                if result
                else f"--out {out} holds this very run, unfinished; add --resume to go on with it"
            )
        if result:
            accepted(changes(files), accept_changes)
        return result
    with asked_for(out):
        write_text(files.config, config.to_toml())
    return None


def resumable(files: RunFiles) -> Path | None:
    """The newest checkpoint that is intact with its pool and logs; DamagedError if none is."""

    def problem(checkpoint: Path) -> str | None:
        found = checkpoint_problem(checkpoint)
        if found:
            return found
        _, pool_version = read_state(checkpoint)
        return pool_problem(files.pool, pool_version) or log_problem(files, checkpoint)

    return newest_intact(files.checkpoints, problem)


def discard_blocks(folder: Path, but: int | None) -> None:
    """Delete the blocks of all rounds but this one."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if but is None or not path.name.startswith(block_name(but, "")):
            remove(path)


def disclaim(files: RunFiles) -> None:
    """Remove the configuration of a run that could not start from an otherwise empty folder."""
    if {path.name for path in files.path.iterdir()} <= {files.config.name, LOCK}:
        remove(files.config)
