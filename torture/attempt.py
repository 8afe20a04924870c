"""The record of an attempt, a place with healthy folders to attack, and ways to run `dp`."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from tests.commands import answer_to
from torture.processes import HANGS_AFTER, Answer, Process, finish

ROOT = Path(__file__).parents[1]
MAIN = "from dp_experiments.cli.main import main; main()"
SMALL_SETTINGS = {
    "generator.training": "none",
    "sampling.steps": 2,
    "sampling.block_size": 10,
    "learner.hidden": "[8]",
    "training.steps": 40,
    "practice.initial": 20,
    "practice.additions": 2,
    "practice.increment": 10,
    "practice.patience": 1,
    "practice.evaluate_every": 1,
}
POOL_ROWS = 40  # in the pool of a run with these settings
STOPPED = f"""
from dp_real.runs.folder import RunFolder
calls = []
RunFolder.stop_requested = lambda self: calls.append(1) or len(calls) > 26
{MAIN}"""
"""Python code that runs `dp` with the words that follow and stops a run before its end, as a signal does."""
TIMES = ("seconds", "versions", "flops")  # keys with these parts have values that differ from run to run


def as_options(settings: Mapping[str, object]) -> tuple[str, ...]:
    """The words --set KEY=VALUE for each of these settings."""
    return tuple(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))


SMALL = ("digits", *as_options(SMALL_SETTINGS))
"""The words that follow `dp real run` for a run of a few seconds."""
ON_DISK = ("--set", "pool.storage=jpeg")
COMPARE = ("real", "compare", *SMALL, "--arms", "practice,static", "--seeds", 2, "--workers", 2)


@dataclass(frozen=True)
class Attempt:
    """`fault` is empty if the case was survived; `kind` is its row in the table."""

    kind: str
    case: str
    saw: str
    fault: str = ""


def all_faults(faults: list[str]) -> str:
    """The faults that are not empty, in one text."""
    return "; ".join(filter(None, faults))


@dataclass
class Place:
    """A folder with a cache and healthy runs of its own, removed on exit."""

    path: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        own = {"XDG_CACHE_HOME": str(self.path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.environment = os.environ | own | {"PYTHONPATH": paths}
        self._copies = 0

    def start(self, *words: object, code: str = MAIN) -> Process:
        return self.process(sys.executable, "-c", code, *words)

    def process(self, *words: object, **environment: str) -> Process:
        return Process([*map(str, words)], self.new("streams"), self.path, self.environment | environment)

    def dp(self, *words: object, code: str = MAIN) -> Answer:
        return finish(self.start(*words, code=code))

    def new(self, stem: str) -> Path:
        self._copies += 1
        return self.path / f"{stem}-{self._copies}"

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(folder, self.new(folder.name) / folder.name))

    @cached_property
    def whole(self) -> Path:
        """A complete run."""
        return self._made("whole", "real", "run", *SMALL)

    @cached_property
    def on_disk(self) -> Path:
        """A complete run whose batches are read by threads."""
        return self._made("on-disk", "real", "run", *SMALL, *ON_DISK)

    @cached_property
    def stopped(self) -> Path:
        """A run that was asked to stop before its end."""
        return self._made("stopped", "real", "run", *SMALL, code=STOPPED, status=130)

    @cached_property
    def branched(self) -> Path:
        run = self.copy(self.whole)
        assert run_here(self, "real", "branch", run).status == 0
        return run

    @cached_property
    def compared(self) -> Path:
        """A comparison of two arms."""
        return self._made("compared", *COMPARE)

    def _made(self, name: str, *words: object, code: str = MAIN, status: int = 0) -> Path:
        out = self.path / name
        answer = self.dp(*words, "--out", out, code=code)
        assert answer.status == status, answer.err
        return out

    def __enter__(self) -> "Place":
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def without_times(value: Any) -> Any:
    """A record without what differs from run to run: times, versions and FLOPs."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not any(part in key for part in TIMES)}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def outcome(run: Path) -> dict[str, Any]:
    """A run's result, logs and digest of its learner, without times; ValueError or OSError if it is not whole."""
    weights = (run / "learner" / "model.safetensors").read_bytes()
    return {
        "result": without_times(json.loads((run / "result.json").read_text())),
        "metrics": _lines_of(run / "metrics.jsonl"),
        "rounds": _lines_of(run / "rounds.jsonl"),
        "learner": hashlib.sha256(weights).hexdigest(),
    }


def _lines_of(log: Path) -> list[Any]:
    return [without_times(json.loads(line)) for line in log.read_text().splitlines()]


def run_fault(place: Place, run: Path, sound: Path | None = None) -> str:
    """How a run differs from `sound`, by default the place's complete run."""
    try:
        found = outcome(run)
        expected = outcome(sound or place.whole)
    except (OSError, ValueError) as error:
        return f"the run is not whole: {error}"
    wrong = [f"another {part}" for part in expected if found[part] != expected[part]]
    left = [f"left {path.name}" for path in run.rglob(".part-*")]
    return "; ".join([*wrong, *left])


def run_here(place: Place, *words: object) -> Answer:
    """Run `dp` in this process, which is much faster, and count processor seconds; not for what ends by a signal."""
    own = {name: place.environment[name] for name in ("XDG_CACHE_HOME", "HF_HUB_OFFLINE")}
    begin = time.process_time()
    try:
        with mock.patch.dict(os.environ, own), contextlib.chdir(place.path), _limited(HANGS_AFTER):
            status, out, err = answer_to(words)
    except BaseException as error:
        status, out, err = 1, "", f"Traceback: {type(error).__name__}: {error}"
    return Answer(status, out, err, time.process_time() - begin)


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def too_long(number: int, frame: object) -> None:
        raise TimeoutError(f"hung for {seconds} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
