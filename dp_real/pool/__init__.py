"""Generated examples on disk: what a round brings, how it is stored, how training reads it, and how others do."""

from dp_real.pool.batch import Batch
from dp_real.pool.loader import Loader
from dp_real.pool.pool import FACTS, Pool

__all__ = ["FACTS", "Batch", "Loader", "Pool"]
