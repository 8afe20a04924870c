"""The test error of ridge regression at a given ridge, and at the best: lam and psi count the rows of the moments."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dp_theory.numerics.checks import Real
from dp_theory.ridge.theorem1 import corollary1, theorem1
from dp_theory.rules import Moments

_PER_DECADE = 5  # points of the first grid
_FINER = 4  # each further grid is so many times finer than the one before
_FINEST = 1e-4  # spacing of ln x at which the search ends


def minimise(function: Callable[[Any], Any], low: float, high: float, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The least value of each function over [low, high], low > 0, and where it is.

    Grids are logarithmic, since functions may have several local minima, or the least at an end.
    """
    extra_axes = (1,) * len(shape)
    points = 2 + round(_PER_DECADE * np.log10(high / low))
    spacing = np.log(high / low) / (points - 1)
    log_x = np.linspace(np.log(low), np.log(high), points).reshape(-1, *extra_axes) + np.zeros(shape)
    while True:
        values = np.broadcast_to(function(np.exp(log_x)), log_x.shape)
        best = np.argmin(values, axis=0)[None]
        centre = np.take_along_axis(log_x, best, axis=0)[0]
        if spacing < _FINEST:
            least = np.take_along_axis(values, best, axis=0)[0]
            return least, np.exp(centre)
        offsets = np.linspace(-spacing, spacing, 2 * _FINER + 1).reshape(-1, *extra_axes)
        log_x = np.clip(centre + offsets, np.log(low), np.log(high))
        spacing /= _FINER


RIDGES = (1e-9, 1e4)  # the interval in which the best ridge is sought, beside lam = 0


def ridge_error(moments: Moments, rho: Real, psi: Real, lam: Real) -> Any:
    """Theorem 1, or Corollary 1 where lam = 0, with psi and the ridge per row."""
    with np.errstate(divide="ignore", invalid="ignore"):  # each formula is evaluated on the other's cells too
        ridgeless = corollary1(*moments, rho, psi)[0] if np.any(np.equal(lam, 0)) else 0.0
        return np.where(np.greater(lam, 0), theorem1(*moments, rho, psi, lam)[0], ridgeless)


def best_ridge(error: Callable[[Any], Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The least of error(ridge) over 0 and RIDGES, and the ridge that attains it."""
    least, ridge = minimise(error, *RIDGES, shape)
    ridgeless = error(0.0)
    return np.minimum(least, ridgeless), np.where(ridgeless <= least, 0.0, ridge)
