"""Rounds of examples for pools, without a generator."""

import numpy as np
import torch

from dp_real.pool import Batch, Pool

SHAPE = (1, 2, 2)


def batch(pool: Pool, x: torch.Tensor, **facts: np.ndarray) -> Batch:
    """A round of these examples. Columns that are not given have default values."""
    n = len(x)
    nothing = {"label": np.zeros(n, int), "seed": np.zeros(n, np.uint64), "correct": np.ones(n, bool)}
    nothing |= {name: np.zeros(n, np.float32) for name in ("omega", "entropy")}
    nothing |= {
        "draws": np.ones(n, int),
        "redrawn": np.zeros(n, int),
        "seconds": np.zeros(n),
    }
    nothing["round"] = np.zeros(n, np.int32)
    return Batch(row=np.arange(n), example=pool.storage.encode(x), **nothing | facts)
