"""The protocol by which the loop writes its results and learns that it should stop."""

from typing import Any, Protocol

from dp_real.loop.state import LoopState
from dp_real.pool import Pool
from dp_real.protocols import Learner


class Recorder(Protocol):
    """Receives what a run writes; usually a folder (dp_real.runs.folder)."""

    def evaluation(self, row: dict[str, Any], pace: dict[str, float], last_step: int) -> None:
        """Write a row of metrics.jsonl. pace: how fast training is (dp_real.loop.pace). last_step: of the run."""
        ...

    def addition(self, row: dict[str, Any], pool: Pool) -> None:
        """Write a row of rounds.jsonl. pool: it ends with the round."""
        ...

    def checkpoint(self, state: LoopState, learner: Learner, pool: Pool, keep: bool) -> None:
        """Write a checkpoint, from which a run resumes. keep: it stays, and a branch can start from it.

        Raises DivergedError if the learner's tensors are not finite.
        """
        ...

    def best(self, learner: Learner) -> None:
        """Write the learner, whose validation accuracy is the highest so far."""
        ...

    def stop_requested(self) -> bool:
        """Whether the run should stop. All processes call it before each step."""
        ...
