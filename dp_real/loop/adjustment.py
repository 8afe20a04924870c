"""Logit adjustment: in training, a class is not to be predicted for being frequent."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dp_real.config import Config
from dp_real.pool import REAL_SEED, Pool


class LogitAdjustment:
    """What is added to logits in training: training.logit_adjustment times the log of each class's share.

    The shares are those among the real rows for a real row, and those among the generated rows for a generated one.
    Were they of the whole pool, rare classes that are filled up with generated rows would count as frequent. But a
    learner that can tell the two kinds of rows apart takes what looks real for a class that has many real rows.

    References
    ----------
    Menon et al. (2021), Long-tail learning via logit adjustment, for rows of one kind.
    """

    def __init__(self, config: Config, pool: Pool) -> None:
        self.strength = config.training.logit_adjustment
        self.n_classes = config.task.n_classes
        self.pool = pool
        self._is_real = torch.empty(0, dtype=torch.bool)  # of each row of the pool
        self._offsets = torch.empty(2, 0)  # of generated rows, and of real ones

    def of(self, rows: Int64[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """What is added to the logits of the rows at these positions of the pool.

        A class without any row of a kind counts as one with a single row.
        """
        if len(self._is_real) != len(self.pool):
            self._look()
        return self._offsets[self._is_real[rows].long()]

    def _look(self) -> None:
        """Count the classes of the pool's rows as they are now, of each kind."""
        self._is_real = torch.from_numpy(self.pool.table()["seed"].to_numpy() == REAL_SEED)
        kinds = self.pool.y[~self._is_real], self.pool.y[self._is_real]
        counts = torch.stack([of_kind.bincount(minlength=self.n_classes) for of_kind in kinds]).clamp_(min=1)
        shares = counts.double() / counts.sum(dim=1, keepdim=True)
        self._offsets = (self.strength * shares.log()).float()
