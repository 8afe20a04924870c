"""Randomised low-discrepancy points: scipy's scrambled Sobol sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

if TYPE_CHECKING:
    from jaxtyping import Float

SETS = 32  # of points, each scrambled by itself: their scatter says how well means over all are known
_BITS = 30  # of each coordinate


def uniforms(dimensions: int, log2: int, seed: int, *key: int) -> Float[np.ndarray, "rows {dimensions}"]:
    """2^log2 points within the unit cube; a larger number begins with the same."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    points = qmc.Sobol(dimensions, bits=_BITS, rng=rng).random_base2(log2)
    return points + 0.5 ** (_BITS + 1)  # off the corner, where quantiles are infinite


def normals(dimensions: int, log2: int, seed: int, *key: int) -> Float[np.ndarray, "rows {dimensions}"]:
    """The same points as standard normals."""
    return ndtri(uniforms(dimensions, log2, seed, *key))


def sets_of_normals(dimensions: int, log2: int, sets: int = SETS) -> Iterator[Float[np.ndarray, "rows dims"]]:
    """Independent sets, which differ from those of every seed with a key of one number."""
    return (normals(dimensions, log2, 0, 1, number) for number in range(sets))
