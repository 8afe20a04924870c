"""A run's files: their names, and how logs and checkpoints are read."""

import logging
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.checksums import damage, verify
from dp_base.errors import DamagedError, InputError
from dp_base.reading import own_file, read_json, read_rows, require_format

if TYPE_CHECKING:  # importing torch takes seconds
    from dp_real.protocols import Learner
    from dp_real.runs.loop import LoopState

log = logging.getLogger(__name__)
FORMAT = 1  # format number of checkpoints; see dp_base.reading.require_format
STATE = "state.json"  # a checkpoint's LoopState, format number, `inputs`, and `accepted` if these changed
LEARNER = "learner.safetensors"


class RunFiles:
    """A run's files in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"  # written first
        self.metrics = path / "metrics.jsonl"  # a row per evaluation
        self.rounds = path / "rounds.jsonl"  # a row per round
        self.logs = (self.metrics, self.rounds)
        self.pool = path / "pool"
        self.drawing = path / "drawing"  # the blocks of the round that is being drawn
        self.drawn_with = self.drawing / "inputs.json"  # what the first round depends on, until there is a checkpoint
        self.checkpoints = path / "checkpoints"
        self.learner = path / "learner"
        self.result = path / "result.json"  # exists only if the run is complete
        self.figures = path / "figures"

    @classmethod
    def open(cls, folder: str | Path) -> "RunFiles":
        """The files in a folder. Raises InputError if it is not a run's."""
        files = cls(Path(folder))
        if not files.is_run:
            call = f'datasets.load_dataset("arrow", data_files="{files.pool}/*/*.arrow")'
            remedy = f"; {call} opens the samples of a Practice" if files.pool.is_dir() else ""
            raise InputError(f"{folder} is not the folder of a run: it has no config.toml{remedy}")
        return files

    @property
    def takes_objects(self) -> bool:
        """Whether the run was given Python objects."""
        if not self.config.exists():
            return False
        text = self.config.read_text(encoding="utf-8", errors="replace")
        return re.search(r'^(kind|source|objective) = "given[" -]', text, re.MULTILINE) is not None

    @property
    def begin(self) -> str:
        """The command or the call that repeats the run."""
        return "dp_real.run(…)" if self.takes_objects else f"dp real run {shlex.quote(str(self.config))}"

    @property
    def resume(self) -> str:
        """The command or the call that continues the run."""
        if self.takes_objects:
            return f"dp_real.run(…, {str(self.path)!r}, resume=True)"
        return shlex.join(["dp", "real", "resume", str(self.path)])

    @property
    def again(self) -> str:
        """The end of a message: what to do if a file is lost that a complete run's checkpoints can restore."""
        return f"remove {self.result}, and {self.resume} trains the last part again"

    @property
    def repeat(self) -> str:
        """The end of a message: what to do if a file is lost."""
        return f"restore it, or repeat the run in a new folder: {self.begin}"

    @property
    def is_run(self) -> bool:
        return self.config.is_file()

    @property
    def branches(self) -> "list[RunFiles]":
        return [RunFiles(path) for path in sorted(self.path.glob("branches/[0-9]*"))]

    @property
    def branch_again(self) -> str:
        """The end of a message: what to do if a branch's file is damaged; empty for a run."""
        if self.path.parent.name != "branches":
            return ""
        return f"remove {self.path}; dp real branch {shlex.quote(str(self.path.parents[1]))} makes it again"

    def branch(self, pool_size: int) -> "RunFiles":
        return RunFiles(self.path / "branches" / f"{pool_size:09d}")

    def read_result(self) -> dict[str, Any] | None:
        """result.json; None until the run is complete."""
        if not self.result.exists():
            return None
        remedy = self.branch_again or self.again
        verify(self.path, remedy, [self.result.name])
        return read_json(self.result, remedy)

    def read_rows(self, log: Path) -> list[dict[str, Any]]:
        """The rows of a log, without an incomplete last line."""
        with own_file(log, self.repeat):
            return read_rows(log)


@dataclass(frozen=True)
class Checkpoint:
    """A folder, written whole: step-N-rounds-K, before an addition, is kept; latest-step-N-rounds-K is replaced.

    It has copies of the logs at that time.
    """

    path: Path

    @property
    def remedy(self) -> str:
        return f"restore it, or remove {self.path} to do without that checkpoint"

    @property
    def record(self) -> dict[str, Any]:
        record = read_json(self.path / STATE, self.remedy)
        require_format(record, FORMAT, self.path / STATE)
        return record

    @property
    def state(self) -> "LoopState":
        from dp_real.runs.loop import LoopState

        record = self.record
        with own_file(self.path / STATE, self.remedy):
            return LoopState.from_record(record)

    @property
    def is_kept(self) -> bool:
        """Whether it is before an addition, or equal to one that is."""
        return self.path.with_name(self.path.name.removeprefix("latest-")).exists()

    def problem(self, names: list[str] | None = None) -> str | None:
        """A fault of its state or of these files (None: of all files); None if there is none."""
        if problem := damage(self.path, names):
            return problem
        try:
            _ = self.state
        except DamagedError as error:
            return error.problem
        return None

    def restore(self, learner: "Learner") -> "LoopState":
        """Restore the learner's state, and return the run's."""
        from safetensors.torch import load_file

        verify(self.path, self.remedy)
        state = self.state
        with own_file(self.path / LEARNER, self.remedy):
            learner.load_tensors(load_file(self.path / LEARNER), state.step)
        learner.finish_at(state.last_step)
        return state

    def log_problem(self, files: RunFiles) -> str | None:
        """A message on the first log that has lost rows since; None if there is none."""
        for log in files.logs:
            copy = self.path / log.name
            if copy.exists() and not (log.exists() and log.read_bytes().startswith(copy.read_bytes())):
                return f"{log} lacks rows that were written, or is damaged"
        return None


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints, newest first."""
    step_and_rounds = {}
    for path in folder.glob("[sl]*"):
        if name := re.fullmatch(r"(?:latest-)?step-(\d+)-rounds-(\d+)", path.name):
            step_and_rounds[path] = tuple(map(int, name.groups()))
    return [Checkpoint(path) for path in sorted(step_and_rounds, key=step_and_rounds.__getitem__, reverse=True)]


def kept_checkpoints(folder: Path) -> list[Checkpoint]:
    """Checkpoints before additions, by step. A damaged one is left out with a warning."""
    checkpoints_kept = []
    for checkpoint in map(Checkpoint, sorted(folder.glob("step-*"))):
        if problem := checkpoint.problem([STATE]):
            log.warning("%s; this checkpoint is left out", problem)
        else:
            checkpoints_kept.append(checkpoint)
    return checkpoints_kept


def newest_intact(
    files: RunFiles, problem: Callable[[Checkpoint], str | None] = Checkpoint.problem
) -> Checkpoint | None:
    """The newest checkpoint without a problem. DamagedError if all have one."""
    problems = []
    for checkpoint in checkpoints(files.checkpoints):
        what = problem(checkpoint)
        if what is None:
            for each in problems:
                log.warning("%s; %s is used instead", each, checkpoint.path.name)
            return checkpoint
        if not checkpoint.path.exists():  # the run, which is going on, has replaced it
            return newest_intact(files, problem)
        problems.append(what)
    if problems:
        raise DamagedError(f"{problems[0]}, and no checkpoint of {files.path} is intact without it", files.repeat)
    return None
