"""Fixed points of maps that are costly, smooth, and not defined everywhere."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import root

from dp_theory.numerics.checks import Array

Move = Callable[[Array], tuple[Array, float]]

# Options of scipy.optimize.root.
_POWELL = {"xtol": 1e-9, "factor": 1.0}
# The move that stands for one where the map is not defined.
_NOWHERE = 1e3
# Factor of the start where the map is not defined.
_NEARER = 0.7
# Entries of the start that count as 0: Powell's first differences have steps in proportion to the entries but 0.
_TINY = 1e-6
# How often _NEARER is applied at most.
_MOST = 40


def fixed_point(move: Move, start: Array) -> tuple[Array, float]:
    """The best point found, and its miss, by Powell's hybrid method.

    `move` gives by how much the map moves a point, with entries of order 1, and its miss, inf where it is not defined.
    """
    start = np.where(np.abs(start) < _TINY, 0.0, start)
    best, least = start, np.inf

    def excess(point: Array) -> Array:
        nonlocal best, least
        moved, miss = move(point)
        if miss < least:
            best, least = point.copy(), miss
        return moved if np.isfinite(miss) else np.full_like(point, _NOWHERE)

    for _ in range(_MOST):
        excess(start)
        if np.isfinite(least):
            break
        start = _NEARER * start
    root(excess, start, method="hybr", options=_POWELL)
    return best, least
