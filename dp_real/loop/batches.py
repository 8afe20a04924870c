"""Which rows of the pool a training step uses."""

from itertools import pairwise

import torch
from torch import Tensor

from dp_real.pool import Pool
from dp_real.runtime.processes import this_process
from dp_real.runtime.seeds import Stream, torch_rng
from dp_real.runtime.shares import StepShare, edges

BLOCK_STEPS = 256  # steps whose batches are drawn at once, which saves time


class MiniBatches:
    """The positions in the pool of each step's rows: those that this process prepares.

    They are a function of the seed, the step and the pool. All rows are equally likely, or the latest round's rows are
    `new_sample_weight` times as likely as the others, or all classes are equally likely.
    """

    def __init__(self, pool: Pool, size: int, new_sample_weight: float, seed: int, *, balanced: bool = False) -> None:
        """size: rows of a step, over all processes; 0: all rows of the pool, in each of them."""
        self.pool = pool
        self.size = size
        self.weight = new_sample_weight
        self.seed = seed
        self.balanced = balanced
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
            latest = list(self._drawn.items())[-1:]
            self._drawn = dict(latest) | {(block, n): self._draw(block)}
        return self._drawn[block, n][row]

    def _draw(self, block: int) -> Tensor:
        """The positions of a block of steps, int64 [BLOCK_STEPS, B].

        They are uniform on a line on which an old row has length 1, and a new one length `weight`.
        """
        n = len(self.pool)
        old = n - self.pool.newest
        sizes = [end - begin for begin, end in pairwise(edges(self.size))]
        parcels = [self._uniforms(block, part.parcel, sizes[part.parcel]) for part in self.share.parts]
        position = torch.cat(parcels or [self._uniforms(block, 0, 0)], dim=1)
        if self.balanced:
            shares = 1 / self.pool.y.bincount().double()[self.pool.y]
            ends = shares.cumsum(0)  # each row's place on a line on which all classes have the same length
            return torch.searchsorted(ends, position * ends[-1], right=True).clamp_(max=n - 1)
        position *= old + self.weight * self.pool.newest
        if self.weight != 1:
            position = torch.where(position < old, position, old + (position - old) / self.weight)
        return position.long().clamp_(max=n - 1)

    def _uniforms(self, block: int, parcel: int, size: int) -> Tensor:
        """The draws of a parcel of `size` rows, float64 [BLOCK_STEPS, size], uniform on [0, 1)."""
        draw = torch_rng(self.seed, Stream.BATCH, block, parcel)
        return torch.rand(BLOCK_STEPS, size, generator=draw, dtype=torch.float64)
