"""Rounds of examples for pools, without a generator."""

import numpy as np
import torch

from dp_real.pool import Batch, Pool

SHAPE = (1, 2, 2)


def batch(pool: Pool, x: torch.Tensor, **facts: np.ndarray) -> Batch:
    """A round of these examples. Columns that are not given have default values."""
    n = len(x)
    kinds = {"label": int, "seed": np.uint64, "omega": np.float32, "entropy": np.float32, "draws": int, "redrawn": int}
    kinds |= {"seconds": float, "round": np.int32, "correct": bool}
    columns = {name: np.zeros(n, kind) for name, kind in kinds.items()}
    return Batch(row=np.arange(n), example=pool.storage.encode(x), **columns | facts)
