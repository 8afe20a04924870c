"""Loads a pool's mini-batches for training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from dp_real.pool.pool import Pool
from dp_real.runtime.processes import device
from dp_real.runtime.shares import PARCEL

READERS = 8  # threads that fetch and decode the next rows of a pool that is not in memory, a parcel at a time

Rows = tuple[Tensor, Tensor]


class Loader:
    """A pool's mini-batches. If the pool is on disk, or a GPU trains, threads prepare the next ones meanwhile.

    For a GPU they are in pinned memory, from which they are copied while it computes.
    """

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        """rows_at: step -> the positions int64 [B] that it trains on, in the pool as it is when called."""
        self.pool, self.rows_at = pool, rows_at
        self.pins = device().type == "cuda"
        self._ahead: dict[tuple[int, int], list[Future[Rows]]] = {}  # by step and size of the pool
        self._threads = ThreadPoolExecutor(READERS)

    def batch(self, step: int) -> Rows:
        """The mini-batch of a step; see Pool.minibatch."""
        if self.pool.in_memory and not self.pins:
            return self.pool.minibatch(self.rows_at(step))
        size, rows = len(self.pool), self.rows_at(step)
        steps = max(2, 2 * READERS * PARCEL // max(1, len(rows)))  # so that all threads have work
        wanted = [(later, size) for later in range(step, step + steps)]
        known = self._ahead
        self._ahead = {key: known.get(key) or self._asked(key[0]) for key in wanted}
        parts = [part.result() for part in self._ahead.pop(wanted[0])]
        return parts[0] if len(parts) == 1 else self._joined(parts)

    def _asked(self, step: int) -> list[Future[Rows]]:
        """The rows of a step, which the threads now prepare."""
        rows = self.rows_at(step)
        alone = len(rows) <= PARCEL  # and need not be joined
        return [self._threads.submit(self._read, part, self.pins and alone) for part in rows.split(PARCEL)]

    def _read(self, rows: Tensor, pin: bool) -> Rows:
        x, y = self.pool.minibatch(rows)
        return (x.pin_memory(), y.pin_memory()) if pin else (x, y)

    def _joined(self, parts: list[Rows]) -> Rows:
        """One batch of several parts, joined where it will lie."""
        n, (x, y) = sum(len(y) for _, y in parts), parts[0]
        decoded = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)  # as images are: 5 times faster
        layout = torch.channels_last if decoded else torch.contiguous_format
        whole = torch.empty(n, *x.shape[1:], dtype=x.dtype, memory_format=layout, pin_memory=self.pins)
        targets = torch.empty(n, *y.shape[1:], dtype=y.dtype, pin_memory=self.pins)
        torch.cat([x for x, _ in parts], out=whole)
        torch.cat([y for _, y in parts], out=targets)
        return whole, targets
