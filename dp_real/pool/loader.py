"""Loads a pool's mini-batches for training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from dp_real.pool.pool import Pool

READERS = 8  # threads that fetch and decode the next batches of a pool that is not in memory


class Loader:
    """A pool's mini-batches. If the pool is on disk, threads read the next ones ahead."""

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        """rows_at: step -> the positions int64 [B] that it trains on, in the pool as it is when called."""
        self.pool, self.rows_at = pool, rows_at
        self._ahead: dict[tuple[int, int], Future[tuple[Tensor, Tensor]]] = {}  # by step and size of the pool
        self._threads = ThreadPoolExecutor(READERS)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The mini-batch of a step; see Pool.minibatch."""
        if self.pool.in_memory:
            return self.pool.minibatch(self.rows_at(step))
        size = len(self.pool)
        wanted = [(later, size) for later in range(step, step + 2 * READERS)]
        known = self._ahead
        self._ahead = {
            key: known.get(key) or self._threads.submit(self.pool.minibatch, self.rows_at(key[0])) for key in wanted
        }
        return self._ahead.pop(wanted[0]).result()
