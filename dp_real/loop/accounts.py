"""The rows that a run logs for a round and an evaluation, with their costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_real.loop.state import LoopState
from dp_real.pool import Pool
from dp_real.rounds.drawing_costs import GenerationCosts
from dp_real.runtime.processes import from_main


class Clock:
    """The seconds that a run has taken, over all its sessions."""

    def __init__(self, seconds: float) -> None:
        """seconds: those of earlier sessions."""
        self._begin = time.monotonic() - seconds

    def advance(self, seconds: float) -> None:
        """Count these seconds, too."""
        self._begin -= seconds

    def now(self) -> float:
        """The run's seconds, by this process's clock."""
        return time.monotonic() - self._begin

    def agreed(self) -> float:
        """The run's seconds by the main process's clock, in all processes."""
        return from_main(self.now())


@dataclass(frozen=True)
class RoundAccount:
    """What a round added and cost, over all processes."""

    pool: Pool  # after the round
    costs: GenerationCosts
    begin: float  # by the run's clock
    seconds: float  # that drawing took
    row_flops: int  # of training on one row

    def training(self, state: LoopState) -> tuple[float, int]:
        """Seconds and FLOPs of training until the round began. The seconds include validation and checkpoints."""
        return self.begin - state.generation_seconds, self.row_flops * state.seen

    def row(self, state: LoopState, n_classes: int) -> dict[str, Any]:
        """A row of rounds.jsonl. state: as it was before the round."""
        facts = self.pool.table(newest=True)
        column = {name: facts[name].to_numpy(zero_copy_only=False) for name in ("label", "omega", "entropy", "correct")}
        training_seconds, training_flops = self.training(state)
        return {
            "round": state.rounds,
            "step": state.step,
            "count": len(facts),
            "generated": self.costs.generated,
            "redrawn": self.costs.redrawn,
            "omega": column["omega"].mean(dtype=float),
            "entropy": column["entropy"].mean(dtype=float),
            "fraction_wrong": 1 - column["correct"].mean(),
            "rarest_class": int(np.bincount(column["label"], minlength=n_classes).min()),
            "denoiser_forwards": self.costs.forwards,
            "denoiser_backwards": self.costs.backwards,
            "flops": self.costs.flops,
            "seconds": self.seconds,
            "training_flops": training_flops - state.training_flops,
            "training_seconds": training_seconds - state.training_seconds,
        }


def evaluation_row(state: LoopState, pool: Pool, learning_rate: float, loss: float, accuracy: float) -> dict[str, Any]:
    """A row of metrics.jsonl."""
    return {
        "step": state.step,
        "pool_size": len(pool),
        "epoch": state.epoch,
        "lr": learning_rate,
        "train_loss": loss,
        "val_accuracy": accuracy,
        "images_generated": state.costs.generated,
        "seconds": state.seconds,
    }
