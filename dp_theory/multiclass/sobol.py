"""Randomised low-discrepancy points: scipy's scrambled Sobol sequences."""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from dp_theory.numerics.checks import Array

SETS = 32  # of points, each scrambled by itself, whose scatter says how well means over all are known
_BITS = 30


def uniforms(dimensions: int, log2: int, seed: int, *key: int) -> Array:
    """2^log2 points (rows, dimensions) within the unit cube, a function of seed and key; more begin with the same."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    points = qmc.Sobol(dimensions, bits=_BITS, rng=rng).random_base2(log2)
    return points + 0.5 ** (_BITS + 1)  # off the corner, where quantiles are infinite


def normals(dimensions: int, log2: int, seed: int, *key: int) -> Array:
    """The same as standard normals."""
    return ndtri(uniforms(dimensions, log2, seed, *key))


def sets_of_normals(dimensions: int, log2: int, sets: int = SETS) -> Iterator[Array]:
    """Independent sets of them, which no seed and key of one number give."""
    return (normals(dimensions, log2, 0, 1, number) for number in range(sets))
