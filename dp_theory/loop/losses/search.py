"""A stage under another loss than the square: Powell's method solves the damped fixed-point map of its equations, in
coordinates that always stand for possible order parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from dp_base.errors import ConvergenceError
from dp_theory.loop.square import Newest, Solution
from dp_theory.numerics.checks import Array, Float

# The part of the way to the right-hand sides that the damped map moves.
_PART = 0.5
# The least part of a learner, squared, that is new.
_POSITIVE = 1e-6
# |ln √C| and |ln X| from which no solution is looked for.
_FARTHEST = 100.0
# The ridge from which the search begins where a stage is not found at once.
_LARGE_RIDGE = 1.0
# The ridge to which it then falls, unless the stage's own is larger.
_MIN_RIDGE = 1e-6
# Ridges on that way.
_WAY = 13
# ln √C of stage 0 to begin with.
_FIRST_DEVIATION = -1.0
# The alignment of stage 0 to begin with: at 0 the norm has no slope.
_FIRST_ALIGNMENT = 1e-3
# How much the logarithm of a learner's new part falls per stage, to begin with.
_NEW_PART = 0.5


Means = Callable[[Newest], Newest]  # the means of forces of the newest stage, by its order parameters


@dataclass(frozen=True)
class Search:
    """(T3.9), (T3.10) and (T3.11) for the newest stage; unknowns are a_s, C_s0 … C_ss, X_s0 … X_ss."""

    solution: Solution

    def easier(self) -> "Iterator[Search]":
        """With more ridge, on the way to these."""
        cell, stage = self.solution.cell, self.solution.stages
        own = cell.ridges[stage]
        for lam in np.geomspace(_LARGE_RIDGE, max(own, _MIN_RIDGE), _WAY):
            if lam != own:
                ridges = cell.ridges.copy()
                ridges[stage] = lam
                yield Search(replace(self.solution, cell=replace(cell, ridges=ridges)))

    @property
    def ridge(self) -> float:
        return float(self.solution.cell.ridges[self.solution.stages])

    def start(self) -> Float[Array, " unknowns"]:
        a, c, x = self.solution.orders
        if not self.solution.stages:
            return np.append(np.full(a.shape[1], _FIRST_ALIGNMENT), [_FIRST_DEVIATION, np.log(self.solution.cell.phi)])
        norm, response = self._units
        row = np.linalg.cholesky(c)[-1] / norm
        return np.concatenate([a[-1] / norm, row, [np.log(row[-1]) - _NEW_PART], x[-1] / response, [0.0]])

    @cached_property
    def _units(self) -> tuple[float, float]:
        solution = self.solution
        return (np.sqrt(solution.outputs[2, -1]), solution.orders.x[-1, -1]) if solution.stages else (1.0, 1.0)

    def near(self, other: Solution) -> Float[Array, " unknowns"]:
        """The coordinates of this stage in another solution."""
        (a, c, x), stage = other.orders, self.solution.stages
        return self.coordinates(np.concatenate([a[stage], c[stage, : stage + 1], x[stage, : stage + 1]]))

    def coordinates(self, newest: Newest) -> Float[Array, " unknowns"]:
        """Cone coordinates."""
        norm, response = self._units
        a, c, x = self.solution.orders.split(newest)
        row = np.asarray(solve_triangular(np.linalg.cholesky(self.solution.orders.c), c[:-1], lower=True))
        new = c[-1] - row @ row
        if not (x[-1] > 0 and new > _POSITIVE * c[-1] > 0):
            raise FloatingPointError("no learner has these order parameters")
        new = np.log(new) / 2 - np.log(norm)
        return np.concatenate([a / norm, row / norm, [new], x[:-1] / response, [np.log(x[-1] / response)]])

    def newest(self, coordinates: Float[Array, " unknowns"]) -> Newest:
        norm, response = self._units
        a, factor, x = self.solution.orders.split(coordinates)
        if max(abs(factor[-1]), abs(x[-1])) > _FARTHEST:
            raise ConvergenceError("|θ| runs away: without ridge it does where the kept rows are separable")
        row = norm * np.append(factor[:-1], np.exp(factor[-1]))
        c = np.append(np.linalg.cholesky(self.solution.orders.c) @ row[:-1], row @ row)
        return np.concatenate([norm * a, c, response * np.append(x[:-1], np.exp(x[-1]))])

    def move(self, means: Means, point: Float[Array, " unknowns"]) -> tuple[Float[Array, " unknowns"], float]:
        """By how much the damped map moves a point, and the largest relative residual there; inf where it is not
        defined.
        """
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                newest = self.newest(point)
                off, *_ = self.solution.equations(newest, means(newest))
                miss = self.solution.miss(off, newest)
                return self.coordinates(newest + _PART * off) - point, miss
        except (np.linalg.LinAlgError, ArithmeticError):  # the loss's prox may not converge
            return np.zeros_like(point), np.inf
