"""A pool's mini-batches, step by step."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from dp_real.pool.pool import Pool

READERS = 8  # threads that fetch and decode the next batches of a pool that is not in memory


class Loader:
    """A pool's mini-batches; those that must be read from disk are read ahead in threads."""

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        """rows_at: the positions int64 [B] that a step trains on, as long as the pool does not grow."""
        self.pool, self.rows_at = pool, rows_at
        self._ahead: dict[tuple[int, int], Future[tuple[Tensor, Tensor]]] = {}  # by step and size of the pool
        self._threads = ThreadPoolExecutor(READERS)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """As Pool.minibatch."""
        if self.pool.in_memory:
            return self.pool.minibatch(self.rows_at(step))
        size = len(self.pool)
        wanted = [(later, size) for later in range(step, step + 2 * READERS)]
        known = self._ahead
        self._ahead = {
            key: known.get(key) or self._threads.submit(self.pool.minibatch, self.rows_at(key[0])) for key in wanted
        }
        return self._ahead.pop(wanted[0]).result()
