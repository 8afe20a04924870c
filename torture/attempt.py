"""What all attacks share: the attempt, a place with healthy folders to attack, and `dp` in processes of its own."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
MAIN = "from experiments.cli.main import main; main()"
SETTINGS = {
    "generator.width": 16, "generator.blocks": 1, "generator.train_steps": 10, "sampling.steps": 2,
    "sampling.block_size": 10, "learner.hidden": "[8]", "training.steps": 40, "practice.initial": 20,
    "practice.additions": 2, "practice.increment": 10, "practice.patience": 1, "practice.evaluate_every": 4,
    "practice.checkpoint_every": 4,
}  # fmt: skip
SMALL = ("digits", *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")))
POOL_ROWS = 40
# Stops a run before its end, as a signal does: `dp` with the words that follow.
STOPPED = f"""
from dp_real.runs.folder import RunFolder
calls = []
RunFolder.stop_requested = lambda self: calls.append(1) or len(calls) > 26
{MAIN}"""
TIMES = ("seconds", "versions", "flops")  # parts of keys whose values differ from run to run
SECONDS = 240  # a command that takes longer hangs, also on a busy machine


@dataclass(frozen=True)
class Answer:
    """How `dp` ended: its status (negative: the signal it died of), both streams, and wall seconds."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def last(self) -> str:
        """The last line that the user read."""
        return (self.err.strip() or self.out.strip()).splitlines()[-1][:160] if (self.err + self.out).strip() else ""

    @property
    def tidy(self) -> bool:
        """Whether it did not crash: no traceback, nothing of C++, and if it failed one line that says why."""
        noise = any(word in self.err for word in ("Traceback", "terminate called", "Fatal Python", "panicked at"))
        told = [line for line in self.err.splitlines() if line.startswith("dp:")]
        return not noise and (self.status in (0, 130) or len(told) == 1)


@dataclass(frozen=True)
class Attempt:
    """One case of an attack. kind: its row in the table. fault: what went wrong; empty if it was survived."""

    kind: str
    case: str
    saw: str
    fault: str = ""


@dataclass
class Place:
    """A folder with a cache of its own, and healthy folders to copy and attack."""

    path: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        own = {"XDG_CACHE_HOME": str(self.path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.environment = os.environ | own | {"PYTHONPATH": paths}
        self._copies = 0

    def start(self, *words: object, code: str = MAIN) -> "Process":
        """A process of `dp WORDS` that leads a process group."""
        return self.process(sys.executable, "-c", code, *words)

    def process(self, *words: object, **environment: str) -> "Process":
        """A process of any command that leads a process group."""
        return Process([*map(str, words)], self.new("streams"), self.path, self.environment | environment)

    def dp(self, *words: object, code: str = MAIN) -> Answer:
        """Run `dp WORDS` to its end."""
        return finish(self.start(*words, code=code))

    def new(self, stem: str) -> Path:
        """The path of a folder that is not there yet."""
        self._copies += 1
        return self.path / f"{stem}-{self._copies}"

    def copy(self, folder: Path) -> Path:
        """A copy to attack."""
        return Path(shutil.copytree(folder, self.new(folder.name)))

    @cached_property
    def whole(self) -> Path:
        """A complete run."""
        return self._made("whole", "real", "run", *SMALL)

    @cached_property
    def stopped(self) -> Path:
        """The same run, stopped before its end."""
        return self._made("stopped", "real", "run", *SMALL, code=STOPPED, status=130)

    def _made(self, name: str, *words: object, code: str = MAIN, status: int = 0) -> Path:
        answer = self.dp(*words, "--out", self.path / name, code=code)
        assert answer.status == status, answer.err
        return self.path / name

    def __enter__(self) -> "Place":
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Process(subprocess.Popen[bytes]):
    """A process whose streams go to files, so that children which outlive it keep nobody waiting."""

    def __init__(self, words: list[str], streams: Path, folder: Path, environment: dict[str, str]) -> None:
        streams.mkdir()
        self.streams, self.begin = streams, time.monotonic()
        with open(streams / "out", "wb") as out, open(streams / "err", "wb") as err:
            super().__init__(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                             start_new_session=True)  # fmt: skip


def finish(process: Process, seconds: float = SECONDS) -> Answer:
    """Wait for a process. One that takes longer is killed with its group, and its status is that of SIGKILL."""
    hung = ""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        process.wait()
        hung = f"\nTraceback: hung for {seconds} s"
    out, err = ((process.streams / name).read_text(errors="replace") for name in ("out", "err"))
    return Answer(process.returncode, out, err + hung, time.monotonic() - process.begin)


def orphans(group: int, patience: float = 5.0) -> list[str]:
    """Names of processes of a group that are alive `patience` seconds after its leader ended."""
    deadline = time.monotonic() + patience
    while (alive := list(_members(group))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive


def _members(group: int) -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                yield " ".join(process.cmdline())[:60]


def end_group(group: int) -> None:
    """Kill what is left of a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def strip(value: Any) -> Any:
    """A record without what differs from run to run: times and versions."""
    if isinstance(value, dict):
        return {key: strip(item) for key, item in value.items() if not any(part in key for part in TIMES)}
    return [strip(item) for item in value] if isinstance(value, list) else value


def traces(run: Path) -> tuple[Any, ...]:
    """What a run came to: result, logs and the digest of its trained learner, without times."""
    logs = [[strip(json.loads(line)) for line in (run / name).read_text().splitlines()]
            for name in ("metrics.jsonl", "rounds.jsonl")]  # fmt: skip
    weights = hashlib.sha256((run / "learner" / "model.safetensors").read_bytes()).hexdigest()
    return strip(json.loads((run / "result.json").read_text())), *logs, weights


def run_fault(place: Place, run: Path, sound: Path | None = None) -> str:
    """In what a run that ended differs from one that nothing happened to; empty if in nothing. sound: the latter."""
    try:
        found, expected = traces(run), traces(sound or place.whole)
    except (OSError, ValueError) as error:
        return f"the run is not whole: {error}"
    parts = ("result", "metrics", "rounds", "learner")
    wrong = [part for part, ours, theirs in zip(parts, found, expected, strict=True) if ours != theirs]
    left = [path.name for path in run.rglob(".part-*")]
    return "; ".join([*(f"another {part}" for part in wrong), *(f"left {name}" for name in left)])


def here(place: Place, *words: object) -> Answer:
    """Run `dp WORDS` in this process, which is much faster; for commands that do not end by a signal.

    Its seconds are those of the processor, so that other work on the machine does not count.
    """
    from experiments.cli import main

    out, err, begin = io.StringIO(), io.StringIO(), time.process_time()
    argv, before, folder = sys.argv, signal.getsignal(signal.SIGINT), Path.cwd()
    kept = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "HF_HUB_OFFLINE")}
    os.environ |= {name: place.environment[name] for name in kept}
    sys.argv, status = ["dp", *map(str, words)], 1
    os.chdir(place.path)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        err.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        sys.argv = argv
        os.chdir(folder)
        signal.signal(signal.SIGINT, before)
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return Answer(status, out.getvalue(), err.getvalue(), time.process_time() - begin)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"hung for {SECONDS} s")
