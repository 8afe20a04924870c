"""Watches processes that wait for each other: names the one that does not come, and what it was doing.

A thread of each process leaves a note in the store that the processes met by: how many times it has joined the others,
its phase, and its signs of life. If a process waits long, its thread compares the notes. It costs the work nothing.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

LOOKS = 5.0  # seconds between notes
PATIENCE = 300.0  # seconds of waiting until it is remarked
LIMIT = 3600.0  # seconds without a sign of life until the run is ended, unless the phase may take any time


class _Note(NamedTuple):
    joined: int
    patient: bool
    beats: int
    phase: str


class Watch:
    """The watch of one process among several. store: a torch.distributed.Store that all of them reach."""

    def __init__(self, store: Any, rank: int, processes: int) -> None:
        self.store, self.rank, self.processes = store, rank, processes
        self.joined = 0  # times that this process came to wait for the others
        self.phase, self.patient = "starting", True
        self.beats = 0  # signs of life
        self.waiting: tuple[str, float] | None = None  # for what, and since when
        self._told = 0.0  # seconds of waiting at the last remark
        self._seen: dict[int, tuple[_Note, float]] = {}  # of those that are missing, and since when it reads so
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process."""
        self._thread.start()

    @contextmanager
    def joining(self, what: str, lasting: bool = False) -> Iterator[None]:
        """The block waits for all processes. lasting: so does what follows, until it joins or enters again."""
        self.joined += 1
        self._told, self._seen, self.waiting = 0.0, {}, (what, time.monotonic())
        try:
            yield
        finally:
            if not lasting:
                self.waiting = None

    def enter(self, phase: str, patient: bool) -> None:
        """This process now does something else. patient: which may take any time."""
        self.phase, self.patient, self.waiting = phase, patient, None

    def _look(self) -> None:
        while True:
            time.sleep(LOOKS)
            try:
                self.store.set(f"watch/{self.rank}", f"{self.joined}|{int(self.patient)}|{self.beats}|{self.phase}")
                if self.waiting:
                    self._compare(*self.waiting)
            except RuntimeError:  # the store has closed: the processes are ending
                return

    def _compare(self, what: str, since: float) -> None:
        """Say who is missing, if this process has waited long. Of those that wait, the first one speaks."""
        now = time.monotonic()
        waited = now - since
        if waited < max(PATIENCE, min(2 * self._told, self._told + LIMIT / 3)):
            return
        notes = [self._note(rank) for rank in range(self.processes)]
        missing = [rank for rank, note in enumerate(notes) if note.joined < self.joined]
        self._seen = {rank: self._since(rank, notes[rank], now if self._told else since) for rank in missing}
        self._told = waited
        if not missing or min(rank for rank in range(self.processes) if rank not in missing) != self.rank:
            return
        names = " and ".join(f"rank {rank} (last seen {notes[rank].phase})" for rank in missing)
        _say(f"dp: waiting for {waited / 60:.0f} min in {what} for {names}")
        if all(now - begin >= LIMIT and not note.patient for note, begin in self._seen.values()):
            _say(f"dp: {names} did not come to {what}, nor go on, for {LIMIT / 60:.0f} min: the run ends; resume it")
            os._exit(1)

    def _since(self, rank: int, note: _Note, now: float) -> tuple[_Note, float]:
        """A note, and since when it reads so."""
        known = self._seen.get(rank)
        return known if known and known[0] == note else (note, now)

    def _note(self, rank: int) -> _Note:
        if rank == self.rank:
            return _Note(self.joined, self.patient, self.beats, self.phase)
        if not self.store.check([f"watch/{rank}"]):
            return _Note(0, True, 0, "starting")
        joined, patient, beats, phase = self.store.get(f"watch/{rank}").decode().split("|", 3)
        return _Note(int(joined), patient == "1", int(beats), phase)


def _say(message: str) -> None:
    """Write a line to the terminal, also in a process whose sys.stderr is closed."""
    os.write(2, f"{message}\n".encode())
