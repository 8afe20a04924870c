"""The rows of a training step: their selection, the adjustment of their logits, and their loading."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from dp_real.config import Config
from dp_real.pool import REAL_SEED, Pool
from dp_real.runtime.distributed import device, own_share, this_process
from dp_real.runtime.seeds import Stream, torch_rng

BLOCK_STEPS = 256  # steps whose batches are drawn at once, to save time
AHEAD = 4  # batches that are read at a time, so that one is decoded while another waits for the disk

MiniBatch = tuple[Tensor, Tensor]
"""Examples and their targets."""


class MiniBatches:
    """This process's rows of each step, as positions in the pool: a function of seed, step, pool and rank.

    The latest round's rows are practice.new_sample_weight times as likely, or in balanced batches classes equally.
    """

    def __init__(self, config: Config, pool: Pool) -> None:
        self.config = config
        self.pool = pool
        self.size = config.training.batch_size  # 0: all rows
        self.rank = this_process().process_index
        self.own = len(own_share(range(self.size)))  # rows of a step that this process trains on
        self._drawn = lru_cache(maxsize=2)(self._draw)

    def at(self, step: int) -> Int64[Tensor, " rows"]:
        n = len(self.pool)
        if self.size == 0:
            return torch.arange(n)
        block, row = divmod(step, BLOCK_STEPS)
        return self._drawn(block, n)[row]

    def _draw(self, block: int, n: int) -> Tensor:
        """Positions int64 [BLOCK_STEPS, B] in the pool of n rows."""
        draw = torch_rng(self.config.seed, Stream.BATCH, block, self.rank)
        position = torch.rand(BLOCK_STEPS, self.own, generator=draw, dtype=torch.float64)
        if self.config.training.balanced_batches:
            shares = 1 / self.pool.y.bincount().double()[self.pool.y]
            ends = shares.cumsum(0)  # rows on a line where all classes have equal length
            return torch.searchsorted(ends, position * ends[-1], right=True).clamp_(max=n - 1)
        old, weight = n - self.pool.newest, self.config.practice.new_sample_weight
        position *= old + weight * self.pool.newest  # a line where a new row has length `weight`, an old one 1
        if weight != 1:
            position = torch.where(position < old, position, old + (position - old) / weight)
        return position.long().clamp_(max=n - 1)


class LogitAdjustment:
    """Adds training.logit_adjustment times the log of each class's share to the logits (Menon et al. 2021).

    Shares are among rows of the same kind, real or generated, since a learner that distinguishes the kinds favours
    classes with many real rows.
    """

    def __init__(self, config: Config, pool: Pool) -> None:
        self.strength = config.training.logit_adjustment
        self.n_classes = config.task.n_classes
        self.pool = pool
        self._is_real = torch.empty(0, dtype=torch.bool)  # for each row of the pool
        self._offsets = torch.empty(2, 0)  # of generated rows, and of real ones

    def offsets(self, rows: Int64[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """The terms for these rows. A class without rows counts as if it had one."""
        if len(self._is_real) != len(self.pool):
            self._is_real = torch.from_numpy(self.pool.table()["seed"].to_numpy() == REAL_SEED)
            kinds = self.pool.y[~self._is_real], self.pool.y[self._is_real]
            counts = torch.stack([of_kind.bincount(minlength=self.n_classes) for of_kind in kinds]).clamp_(min=1)
            shares = counts.double() / counts.sum(dim=1, keepdim=True)
            self._offsets = (self.strength * shares.log()).float()
        return self._offsets[self._is_real[rows].long()]


class Loader:
    """A pool's mini-batches.

    If the pool is on disk or a GPU trains, threads prepare the next ones; for a GPU in pinned memory, which is copied
    while it computes. `rows_at` returns a step's rows int64 [B] in the present pool.
    """

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        self.pool = pool
        self.rows_at = rows_at
        self.pin_memory = device().type == "cuda"
        self._ahead: dict[tuple[int, int], Future[MiniBatch]] = {}  # by step and size of the pool
        self._threads = ThreadPoolExecutor(AHEAD)
        self.waited = 0.0  # seconds in `batch`

    def batch(self, step: int) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        begin = time.monotonic()
        batch = self._batch(step)
        self.waited += time.monotonic() - begin
        return batch

    def _batch(self, step: int) -> MiniBatch:
        if self.pool.in_memory and not self.pin_memory:
            return self.pool.minibatch(self.rows_at(step))
        size, wanted = len(self.pool), range(step, step + AHEAD)
        self._ahead = {(later, size): self._ahead.get((later, size)) or self._start(later) for later in wanted}
        return self._ahead.pop((step, size)).result()

    def _start(self, step: int) -> Future[MiniBatch]:
        return self._threads.submit(self._read, self.rows_at(step))

    def _read(self, rows: Tensor) -> MiniBatch:
        x, y = self.pool.minibatch(rows)
        return (x.pin_memory(), y.pin_memory()) if self.pin_memory else (x, y)
