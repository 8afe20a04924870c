"""Where a run leaves its traces, and where it hears that it should stop."""

from typing import Any, Protocol

from dp_real.loop.state import State
from dp_real.pool import Pool
from dp_real.protocols import Learner


class Recorder(Protocol):
    """A folder, as a rule (dp_real.runs.folder)."""

    def evaluation(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl."""
        ...

    def addition(self, row: dict[str, Any]) -> None:
        """A row of rounds.jsonl."""
        ...

    def checkpoint(self, state: State, learner: Learner, pool: Pool, keep: bool) -> None:
        """Where a run goes on from; one that is kept is where a branch begins, too."""
        ...

    def best(self, learner: Learner) -> None:
        """The learner whose validation accuracy is the highest so far."""
        ...

    def stop_requested(self) -> bool:
        """Asked before each step, by all processes."""
        ...
