"""Loads a pool's mini-batches for training."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from dp_real.distributed import device, own_cores

if TYPE_CHECKING:
    from dp_real.pool.pool import Pool

READ = 64  # rows that a thread reads and decodes together
MOST_READERS = 32  # threads that read ahead; each has two such parts in memory

MiniBatch = tuple[Tensor, Tensor]
"""Examples and their targets."""


def reader_threads(cores: int) -> int:
    """At least two threads read ahead, so that one decodes while the other waits for the disk."""
    return min(MOST_READERS, max(2, cores))


class BatchKey(NamedTuple):
    """What decides a mini-batch: the step, and the pool's size when it was asked for."""

    step: int
    size: int


class Loader:
    """A pool's mini-batches.

    If the pool is on disk, or a GPU trains, threads prepare the next ones meanwhile. For a GPU they are in pinned
    memory, from which they are copied while it computes. rows_at: returns a step's rows int64 [B], in the pool as it is
    when called.
    """

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        self.pool = pool
        self.rows_at = rows_at
        self.pins = device().type == "cuda"
        self._ahead: dict[BatchKey, list[Future[MiniBatch]]] = {}
        self.readers = reader_threads(own_cores())  # they read and decode rows ahead
        self._threads = ThreadPoolExecutor(self.readers)
        self.waited = 0.0  # seconds that `batch` took

    def batch(self, step: int) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """What Pool.minibatch gives for the rows of a step."""
        begin = time.monotonic()
        try:
            return self._batch(step)
        finally:
            self.waited += time.monotonic() - begin

    def _batch(self, step: int) -> MiniBatch:
        if self.pool.in_memory and not self.pins:
            return self.pool.minibatch(self.rows_at(step))
        size = len(self.pool)
        rows_per_step = max(1, len(self.rows_at(step)))
        steps = max(2, 2 * self.readers * READ // rows_per_step)  # enough that all threads have work
        wanted = [BatchKey(later, size) for later in range(step, step + steps)]
        self._ahead = {key: self._ahead.get(key) or self._start(key.step) for key in wanted}
        parts = [part.result() for part in self._ahead.pop(wanted[0])]
        return parts[0] if len(parts) == 1 else self._join(parts)

    def _start(self, step: int) -> list[Future[MiniBatch]]:
        rows = self.rows_at(step)
        need_joining = len(rows) > READ  # and are pinned only then
        return [self._threads.submit(self._read, part, self.pins and not need_joining) for part in rows.split(READ)]

    def _read(self, rows: Tensor, pin: bool) -> MiniBatch:
        x, y = self.pool.minibatch(rows)
        return (x.pin_memory(), y.pin_memory()) if pin else (x, y)

    def _join(self, parts: list[MiniBatch]) -> MiniBatch:
        x, y = parts[0]
        n = sum(len(targets) for _, targets in parts)
        # Decoded images are in this layout. Joining them in the same one is 5 times faster.
        is_channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        joined_x = torch.empty(n, *x.shape[1:], dtype=x.dtype, memory_format=layout, pin_memory=self.pins)
        joined_y = torch.empty(n, *y.shape[1:], dtype=y.dtype, pin_memory=self.pins)
        torch.cat([x for x, _ in parts], out=joined_x)
        torch.cat([y for _, y in parts], out=joined_y)
        return joined_x, joined_y
