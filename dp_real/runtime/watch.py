"""Watches processes that wait for each other. It names the process that does not come, and what that one was doing.

A thread of each process leaves a note in the store by which the processes met. The note has how many times the process
has joined the others, its phase, and its signs of life. If a process waits for long, its thread compares the notes.
This does not slow the work.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

LOOKS = 5.0  # seconds between notes
ENDING = 5.0  # seconds that a look at the store may still take when the process ends
PATIENCE = 300.0  # seconds of waiting until a message says so
LIMIT = 3600.0  # seconds without a sign of life until the run is ended, unless the phase may take any time


class Phase(NamedTuple):
    """What a process does. If it is patient, it may take any time."""

    name: str
    patient: bool


class _Note(NamedTuple):
    """What a process tells the others: how often it has joined them, its phase, and its number of signs of life."""

    joined: int
    patient: bool
    beats: int
    phase: str


class _Wait(NamedTuple):
    """What a process waits for, and since when (time.monotonic)."""

    what: str
    since: float


class _Seen(NamedTuple):
    """The latest note of a process, and since when it reads the same (time.monotonic)."""

    note: _Note
    since: float


class Watch:
    """The watch of one process among several. `store` is a torch.distributed.Store that all of them reach."""

    def __init__(self, store: Any, rank: int, processes: int) -> None:
        self.store = store
        self.rank = rank
        self.processes = processes
        self.joined = 0  # times that this process came to wait for the others
        self.phase = Phase("starting", patient=True)
        self.beats = 0  # signs of life
        self.waiting: _Wait | None = None
        self._told = 0.0  # seconds of waiting at the last message
        self._missing: dict[int, _Seen] = {}  # what is known of the processes that are missing, by rank
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, name="watch", daemon=True)

    def start(self) -> None:
        """The thread ends before the interpreter does."""
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Wait for the thread's end. An interpreter that ends while a thread is in the store aborts."""
        self._stopped.set()
        self._thread.join(timeout=ENDING)

    @contextmanager
    def joining(self, what: str, lasting: bool = False) -> Iterator[None]:
        """With `lasting`, what follows the block also waits, until the process joins again or enters a phase."""
        self.joined += 1
        self._told = 0.0
        self._missing = {}
        self.waiting = _Wait(what, time.monotonic())
        try:
            yield
        finally:
            if not lasting:
                self.waiting = None

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.waiting = None

    def look(self) -> None:
        """Raises RuntimeError if the store has closed."""
        name, patient = self.phase
        self.store.set(f"watch/{self.rank}", f"{self.joined}|{int(patient)}|{self.beats}|{name}")
        waiting = self.waiting
        if waiting:
            self._compare(waiting)

    def _look_again_and_again(self) -> None:
        while not self._stopped.wait(LOOKS):
            try:
                self.look()
            except RuntimeError:
                return

    def _compare(self, waiting: _Wait) -> None:
        """Say which processes are missing, if this process has waited for long.

        End the run if they are lost. Of the processes that wait, the first one speaks. The pauses between messages
        grow.
        """
        now = time.monotonic()
        waited = now - waiting.since
        next_message = max(PATIENCE, min(2 * self._told, self._told + LIMIT / 3))
        if waited < next_message:
            return
        notes = [self._note(rank) for rank in range(self.processes)]
        missing = [rank for rank, note in enumerate(notes) if note.joined < self.joined]
        # At the first look nothing is known, so it is assumed that the notes read so since the wait began.
        seen_since = now if self._told else waiting.since
        self._missing = {rank: self._seen(rank, notes[rank], seen_since) for rank in missing}
        self._told = waited
        present = [rank for rank in range(self.processes) if rank not in missing]
        if not missing or min(present) != self.rank:
            return
        names = " and ".join(f"rank {rank} (last seen {notes[rank].phase})" for rank in missing)
        _say(f"dp: waiting for {waited / 60:.0f} min in {waiting.what} for {names}")
        if all(now - since >= LIMIT and not note.patient for note, since in self._missing.values()):
            _say(
                f"dp: {names} did not come to {waiting.what}, nor go on, for {LIMIT / 60:.0f} min: the run ends; "
                "resume it"
            )
            os._exit(1)

    def _seen(self, rank: int, note: _Note, since: float) -> _Seen:
        """Return a note, and since when it reads the same: `since` if it is new."""
        known = self._missing.get(rank)
        return known if known and known.note == note else _Seen(note, since)

    def _note(self, rank: int) -> _Note:
        if rank == self.rank:
            return _Note(self.joined, self.phase.patient, self.beats, self.phase.name)
        if not self.store.check([f"watch/{rank}"]):
            return _Note(joined=0, patient=True, beats=0, phase="starting")
        joined, patient, beats, phase = self.store.get(f"watch/{rank}").decode().split("|", 3)
        return _Note(int(joined), patient == "1", int(beats), phase)


def _say(message: str) -> None:
    """Write a line to the terminal, even in a process whose sys.stderr is closed."""
    os.write(2, f"{message}\n".encode())
