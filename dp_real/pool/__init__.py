"""The pool of generated examples: the rows of a round, their storage on disk, reading for training, and export."""

from dp_real.pool.batch import Batch
from dp_real.pool.loader import Loader
from dp_real.pool.pool import FACTS, Pool

__all__ = ["FACTS", "Batch", "Loader", "Pool"]
