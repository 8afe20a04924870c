"""Which rows of the pool a training step uses."""

import torch
from torch import Tensor

from dp_real.pool import Pool
from dp_real.runtime.processes import this_process
from dp_real.runtime.seeds import Stream, torch_rng

BLOCK_STEPS = 256  # steps whose batches are drawn at once


class MiniBatches:
    """Positions in the pool, a function of the seed, the step, this process and the pool's size.

    They are uniform, or the latest round's rows are `new_sample_weight` times as likely. They are drawn for many steps
    at once, to save time.
    """

    def __init__(self, pool: Pool, size: int, new_sample_weight: float, seed: int) -> None:
        """size: rows of a batch; 0: all rows of the pool."""
        self.pool, self.size, self.weight, self.seed = pool, size, new_sample_weight, seed
        self._drawn: tuple[tuple[int, int], Tensor] | None = None  # for a block of steps and a size of the pool

    def at(self, step: int) -> Tensor:
        """The positions of a step's batch, int64 [size]; all of them if size is 0."""
        n = len(self.pool)
        if self.size == 0:
            return torch.arange(n)
        block, row = divmod(step, BLOCK_STEPS)
        if self._drawn is None or self._drawn[0] != (block, n):
            self._drawn = (block, n), self._draw(block)
        return self._drawn[1][row]

    def _draw(self, block: int) -> Tensor:
        """int64 [BLOCK_STEPS, size]: points on a line on which an old row has length 1, a new one length `weight`."""
        n, old = len(self.pool), len(self.pool) - self.pool.newest
        draw = torch_rng(self.seed, Stream.BATCH, block, this_process().process_index)
        position = torch.rand(BLOCK_STEPS, self.size, generator=draw, dtype=torch.float64)
        position *= old + self.weight * self.pool.newest
        if self.weight != 1:
            position = torch.where(position < old, position, old + (position - old) / self.weight)
        return position.long().clamp_(max=n - 1)
