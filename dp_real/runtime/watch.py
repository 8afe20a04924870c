"""Watches processes that wait for each other: names the one that does not come, and what it was doing.

A thread of each process leaves a note in the store that the processes met by: how many times it has joined the others,
and its phase. If a process waits long, its thread compares the notes. It costs the work nothing.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOOKS = 5.0  # seconds between notes
PATIENCE = 300.0  # seconds of waiting until it is remarked
LIMIT = 3600.0  # seconds of waiting until the run is ended, unless the phase may take any time


class Watch:
    """The watch of one process among several. store: a torch.distributed.Store that all of them reach."""

    def __init__(self, store: Any, rank: int, processes: int) -> None:
        self.store, self.rank, self.processes = store, rank, processes
        self.joined = 0  # times that this process came to wait for the others
        self.phase, self.patient = "starting", True
        self.waiting: tuple[str, float] | None = None  # for what, and since when
        self._told = 0.0  # seconds of waiting at the last remark
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process."""
        self._thread.start()

    @contextmanager
    def joining(self, what: str, lasting: bool = False) -> Iterator[None]:
        """The block waits for all processes. lasting: so does what follows, until it joins or enters again."""
        self.joined += 1
        self._told, self.waiting = 0.0, (what, time.monotonic())
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
                self.store.set(f"watch/{self.rank}", f"{self.joined}|{int(self.patient)}|{self.phase}")
                if self.waiting:
                    self._compare(*self.waiting)
            except RuntimeError:  # the store has closed: the processes are ending
                return

    def _compare(self, what: str, since: float) -> None:
        """Say who is missing, if this process has waited long. Of those that wait, the first one speaks."""
        waited = time.monotonic() - since
        if waited < max(PATIENCE, 2 * self._told):
            return
        self._told = waited
        notes = [self._note(rank) for rank in range(self.processes)]
        missing = [rank for rank, (joined, _, _) in enumerate(notes) if joined < self.joined]
        if not missing or min(rank for rank in range(self.processes) if rank not in missing) != self.rank:
            return
        names = " and ".join(f"rank {rank} (last seen {notes[rank][2]})" for rank in missing)
        _say(f"dp: waiting for {waited / 60:.0f} min in {what} for {names}")
        if waited > LIMIT and not any(notes[rank][1] for rank in missing):
            _say(f"dp: {names} did not come to {what} within {LIMIT / 60:.0f} min: the run is ended; resume it")
            os._exit(1)

    def _note(self, rank: int) -> tuple[int, bool, str]:
        if rank == self.rank:
            return self.joined, self.patient, self.phase
        if not self.store.check([f"watch/{rank}"]):
            return 0, True, "starting"
        joined, patient, phase = self.store.get(f"watch/{rank}").decode().split("|", 2)
        return int(joined), patient == "1", phase


def _say(message: str) -> None:
    """Write a line to the terminal, also in a process whose sys.stderr is closed."""
    os.write(2, f"{message}\n".encode())
