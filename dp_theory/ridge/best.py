"""The test error of ridge regression at a given ridge, and at the best: lam and psi count the rows of the moments."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dp_theory.numerics.checks import Real
from dp_theory.numerics.minimise import minimise
from dp_theory.ridge.theorem1 import corollary1, theorem1
from dp_theory.rules import Moments

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
