"""Which rows of the pool a training step uses, and how their logits are adjusted."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dp_real.config import Config
from dp_real.distributed import own_share, this_process
from dp_real.pool import REAL_SEED, Pool
from dp_real.runtime.seeds import Stream, torch_rng

BLOCK_STEPS = 256  # steps whose batches are drawn at once, which saves time


class MiniBatches:
    """The positions in the pool of each step's rows for this process, from the seed, the step, the pool and the rank.

    The latest round's rows are `weight` times as likely, or if `balanced` classes equally. size 0: all rows.
    """

    def __init__(self, pool: Pool, size: int, seed: int, *, weight: float = 1.0, balanced: bool = False) -> None:
        self.pool = pool
        self.size = size
        self.seed = seed
        self.weight = weight
        self.balanced = balanced
        self.rank = this_process().process_index
        self.own = len(own_share(range(size)))  # rows of a step that this process trains on
        self._drawn: dict[tuple[int, int], Tensor] = {}  # by block of steps and size of the pool; the latest two

    def at(self, step: int) -> Int64[Tensor, " rows"]:
        n = len(self.pool)
        if self.size == 0:
            return torch.arange(n)
        block, row = divmod(step, BLOCK_STEPS)
        if (block, n) not in self._drawn:
            latest = list(self._drawn.items())[-1:]
            self._drawn = dict(latest) | {(block, n): self._draw(block)}
        return self._drawn[block, n][row]

    def _draw(self, block: int) -> Tensor:
        """The positions of a block of steps, int64 [BLOCK_STEPS, B]."""
        n = len(self.pool)
        draw = torch_rng(self.seed, Stream.BATCH, block, self.rank)
        position = torch.rand(BLOCK_STEPS, self.own, generator=draw, dtype=torch.float64)
        if self.balanced:
            shares = 1 / self.pool.y.bincount().double()[self.pool.y]
            ends = shares.cumsum(0)  # each row's place on a line on which all classes have the same length
            return torch.searchsorted(ends, position * ends[-1], right=True).clamp_(max=n - 1)
        old = n - self.pool.newest  # on a line on which an old row has length 1, and a new one length `weight`
        position *= old + self.weight * self.pool.newest
        if self.weight != 1:
            position = torch.where(position < old, position, old + (position - old) / self.weight)
        return position.long().clamp_(max=n - 1)


class LogitAdjustment:
    """Adds training.logit_adjustment times the log of each class's share to the logits (Menon et al. 2021).

    Shares are among real rows for a real row, and among generated ones for a generated row. Of the whole pool, rare
    classes that are filled up would count as frequent. But a learner that tells the kinds apart favours classes with
    many real rows.
    """

    def __init__(self, config: Config, pool: Pool) -> None:
        self.strength = config.training.logit_adjustment
        self.n_classes = config.task.n_classes
        self.pool = pool
        self._is_real = torch.empty(0, dtype=torch.bool)  # of each row of the pool
        self._offsets = torch.empty(2, 0)  # of generated rows, and of real ones

    def of(self, rows: Int64[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """A class without rows counts as if it had one."""
        if len(self._is_real) != len(self.pool):
            self._is_real = torch.from_numpy(self.pool.table()["seed"].to_numpy() == REAL_SEED)
            kinds = self.pool.y[~self._is_real], self.pool.y[self._is_real]
            counts = torch.stack([of_kind.bincount(minlength=self.n_classes) for of_kind in kinds]).clamp_(min=1)
            shares = counts.double() / counts.sum(dim=1, keepdim=True)
            self._offsets = (self.strength * shares.log()).float()
        return self._offsets[self._is_real[rows].long()]
