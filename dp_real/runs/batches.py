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
from dp_real.runtime.distributed import device, own_cores, own_share, this_process
from dp_real.runtime.seeds import Stream, torch_rng

BLOCK_STEPS = 256  # steps whose batches are drawn at once, to save time
READ = 64  # rows that a thread reads and decodes together
MAX_READERS = 32  # threads; each has two such parts in memory

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
        self.pins = device().type == "cuda"
        self._ahead: dict[tuple[int, int], list[Future[MiniBatch]]] = {}  # by step and size of the pool
        self.readers = min(MAX_READERS, max(2, own_cores()))  # one decodes while another waits for the disk
        self._threads = ThreadPoolExecutor(self.readers)
        self.waited = 0.0  # seconds in `batch`

    def batch(self, step: int) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        begin = time.monotonic()
        batch = self._batch(step)
        self.waited += time.monotonic() - begin
        return batch

    def _batch(self, step: int) -> MiniBatch:
        if self.pool.in_memory and not self.pins:
            return self.pool.minibatch(self.rows_at(step))
        size = len(self.pool)
        rows_per_step = max(1, len(self.rows_at(step)))
        steps = max(2, 2 * self.readers * READ // rows_per_step)  # enough to keep all threads busy
        wanted = range(step, step + steps)
        self._ahead = {(later, size): self._ahead.get((later, size)) or self._start(later) for later in wanted}
        parts = [part.result() for part in self._ahead.pop((step, size))]
        if len(parts) == 1:
            return parts[0]
        x, y = zip(*parts, strict=True)
        return self._join(x), self._join(y)

    def _start(self, step: int) -> list[Future[MiniBatch]]:
        rows = self.rows_at(step)
        need_joining = len(rows) > READ  # and only the joined ones are pinned
        return [self._threads.submit(self._read, part, self.pins and not need_joining) for part in rows.split(READ)]

    def _read(self, rows: Tensor, pin: bool) -> MiniBatch:
        x, y = self.pool.minibatch(rows)
        return (x.pin_memory(), y.pin_memory()) if pin else (x, y)

    def _join(self, parts: tuple[Tensor, ...]) -> Tensor:
        first, n = parts[0], sum(map(len, parts))
        # Decoded images have this layout, in which joining them is 5 times faster.
        is_channels_last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        joined = torch.empty(n, *first.shape[1:], dtype=first.dtype, memory_format=layout, pin_memory=self.pins)
        return torch.cat(parts, out=joined)
