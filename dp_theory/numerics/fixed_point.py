"""Fixed points of maps that are costly, smooth and mostly close to a contraction."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import root

from dp_theory.numerics.checks import Array

Move = Callable[[Array], tuple[Array, float]]

# Options of scipy.optimize.root.
_POWELL = {"xtol": 1e-12, "factor": 1.0}
# The move that stands for one where the map is not defined.
_NOWHERE = 1e3
# The number of moves of which the next one is made.
_MEMORY = 9
# The farthest that an unknown moves by the map itself.
_MAX_STEP = 2.0
# The farthest that it moves by the method; where it would go further, it moves by the map.
_FARTHEST = 3.0
# Factor of the start where the map is not defined.
_NEARER = 0.7


def fixed_point(move: Move, start: Array, tolerance: float, steps: int, enough: float) -> tuple[Array, float]:
    """The best point found, and its miss, by Anderson's method (Walker and Ni 2011), or above the miss `enough`
    Powell's.

    `move` gives by how much the map moves a point, with entries of order 1, and its miss.
    """

    def excess(point: Array) -> Array:
        moved, miss = move(point)
        return moved if np.isfinite(miss) else np.full_like(point, _NOWHERE)

    best, least = _by_anderson(move, start, tolerance, steps)
    for begin in (start, best):
        if least > enough:
            point = root(excess, begin, method="hybr", options=_POWELL).x
            _, miss = move(point)
            if miss < least:
                best, least = point, miss
    return best, least


def _by_anderson(move: Move, start: Array, tolerance: float, steps: int) -> tuple[Array, float]:
    point, best, least = start, start, np.inf
    points: list[np.ndarray] = []
    moves: list[np.ndarray] = []
    for _ in range(steps):
        moved, miss = move(point)
        if miss < least:
            best, least = point, miss
        if np.isinf(least):
            point = _NEARER * point
            continue
        if miss < tolerance or np.isinf(miss):
            break
        moved = np.clip(moved, -_MAX_STEP, _MAX_STEP)
        points = [*points, point][-_MEMORY:]
        moves = [*moves, moved][-_MEMORY:]
        following = point + moved
        if len(points) > 1:
            of_moves = np.diff(moves, axis=0).T
            of_points = np.diff(points, axis=0).T
            mixed = following - (of_points + of_moves) @ np.linalg.lstsq(of_moves, moved, rcond=1e-12)[0]
            following = mixed if np.abs(mixed - point).max() < _FARTHEST else following
        point = following
    return best, least
