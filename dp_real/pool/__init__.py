"""The pool of generated examples: the rows of a round, their storage on disk, reading for training, and export.

The names below are imported on first use, because not all need Arrow, which is large.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_real.pool.batch import REAL_SEED, Batch
    from dp_real.pool.loader import Loader
    from dp_real.pool.pool import FACTS, Pool

_HOMES = {
    "FACTS": "dp_real.pool.pool",
    "REAL_SEED": "dp_real.pool.batch",
    "Batch": "dp_real.pool.batch",
    "Loader": "dp_real.pool.loader",
    "Pool": "dp_real.pool.pool",
}

__all__ = ["FACTS", "REAL_SEED", "Batch", "Loader", "Pool"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dp_real.pool' has no attribute '{name}'")
