"""Processes that lead a group of their own: how they are started, waited for and ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

HANGS_AFTER = 240  # seconds; no command takes longer, even on a busy machine


@dataclass(frozen=True)
class Answer:
    """How `dp` ended; a negative status is the signal that ended it."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def last(self) -> str:
        read = self.err.strip() or self.out.strip()
        return read.splitlines()[-1][:160] if read else ""

    @property
    def messages(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("dp:")]

    @property
    def tidy(self) -> bool:
        """A failure is explained in one line, without traceback."""
        noise = any(word in self.err for word in ("Traceback", "terminate called", "Fatal Python", "panicked at"))
        return not noise and (self.status in (0, 130) or len(self.messages) == 1)

    @property
    def line(self) -> str:
        return f"{self.status} {self.last}"


class Process(subprocess.Popen[bytes]):
    """A process of any command. Its streams go to files, so that a child which outlives it keeps nobody waiting."""

    def __init__(self, words: list[str], streams: Path, folder: Path, environment: dict[str, str]) -> None:
        streams.mkdir()
        self.streams = streams
        self.begin = time.monotonic()
        with open(streams / "out", "wb") as out, open(streams / "err", "wb") as err:
            super().__init__(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )


def finish(process: Process, seconds: float = HANGS_AFTER) -> Answer:
    """Wait for a process; one that takes longer is killed with its group."""
    hung = ""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        status = process.wait()
        hung = f"\nTraceback: hung for {seconds} s"
    out = (process.streams / "out").read_text(errors="replace")
    err = (process.streams / "err").read_text(errors="replace")
    return Answer(status, out, err + hung, time.monotonic() - process.begin)


def orphans(group: int, patience: float = 5.0) -> list[str]:
    """Processes of a group that are alive `patience` seconds after its leader ended."""
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
