"""Which rows of the pool a training step uses."""

from itertools import pairwise

import torch
from torch import Tensor

from dp_real.pool import Pool
from dp_real.runtime.processes import this_process
from dp_real.runtime.seeds import Stream, torch_rng
from dp_real.runtime.shares import StepShare, edges

BLOCK_STEPS = 256  # steps whose batches are drawn at once


class MiniBatches:
    """Positions in the pool, a function of the seed, the step and the pool's size: those that this process prepares.

    They are uniform, or the latest round's rows are `new_sample_weight` times as likely. They are drawn for many steps
    at once, to save time.
    """

    def __init__(self, pool: Pool, size: int, new_sample_weight: float, seed: int) -> None:
        """size: rows of a step, over all processes; 0: all rows of the pool, in each of them."""
        self.pool, self.size, self.weight, self.seed = pool, size, new_sample_weight, seed
        here = this_process()
        self.share = StepShare.of(size, here.process_index, here.num_processes)
        self._drawn: dict[tuple[int, int], Tensor] = {}  # by block of steps and size of the pool; the latest two

    def at(self, step: int) -> Tensor:
        """The positions of a step's rows, int64 [B], parcel after parcel; all of them if size is 0."""
        n = len(self.pool)
        if self.size == 0:
            return torch.arange(n)
        block, row = divmod(step, BLOCK_STEPS)
        if (block, n) not in self._drawn:
            self._drawn = dict([*self._drawn.items()][-1:]) | {(block, n): self._draw(block)}
        return self._drawn[block, n][row]

    def _draw(self, block: int) -> Tensor:
        """int64 [BLOCK_STEPS, B]: points on a line on which an old row has length 1, a new one length `weight`."""
        n, old = len(self.pool), len(self.pool) - self.pool.newest
        sizes = [end - begin for begin, end in pairwise(edges(self.size))]
        parcels = [self._parcel(block, part.parcel, sizes[part.parcel]) for part in self.share.parts]
        position = torch.cat(parcels or [self._parcel(block, 0, 0)], dim=1)
        position *= old + self.weight * self.pool.newest
        if self.weight != 1:
            position = torch.where(position < old, position, old + (position - old) / self.weight)
        return position.long().clamp_(max=n - 1)

    def _parcel(self, block: int, index: int, size: int) -> Tensor:
        """float64 [BLOCK_STEPS, size], uniform on [0, 1): the draws of a parcel."""
        draw = torch_rng(self.seed, Stream.BATCH, block, index)
        return torch.rand(BLOCK_STEPS, size, generator=draw, dtype=torch.float64)
