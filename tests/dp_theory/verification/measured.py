"""Errors predicted from the measured law of rows that are not normal, held against the experiment on them."""

import numpy as np

from dp_theory.validity.features import Features

DIMENSION = 120
ROWS = 12_000
KEPT = 240
LAM = 0.05


def example(kind: str, selector: str, seed: int) -> Features:
    """Rows of random signs, or two clusters, with labels by a dense direction (clusters:
    their own labels). selector: dense, near that direction, or the mean of three columns, unequally weighted."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(DIMENSION) / np.sqrt(DIMENSION)
    near = truth + 0.6 * rng.standard_normal(DIMENSION) / np.sqrt(DIMENSION)
    few = np.append([1.0, 0.7, 0.5], np.zeros(DIMENSION - 3))
    x = rng.choice([-1.0, 1.0], (ROWS, DIMENSION)) if kind == "signs" else rng.standard_normal((ROWS, DIMENSION))
    y = np.where(x @ (truth + 0.5 * few) > 0, 1.0, -1.0)
    if kind == "clusters":
        y = rng.choice([-1.0, 1.0], ROWS)
        x += 1.5 * y[:, None] * truth
    return Features(x, y, near if selector == "dense" else few)
