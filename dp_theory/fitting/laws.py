"""The usual empirical laws of error against training rows, fitted to the points of one strategy.

    power law              E = A n^-b
    power law with floor   E = A n^-b + c
    broken power law       E = A n^-b (1 + n/n1)^-s     the slope goes from -b to -(b + s) around n1

They are fitted as x = ln n against y = ln E, with a = ln A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from dp_base.errors import ConvergenceError, InputError
from dp_theory.fitting.curve import Curve
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float

_STEP = 1e-5  # of a parameter in differences, relative to it where it is above 1
_MOST_EVALUATIONS = 2000  # of a law, in one search
_OFF_BOUNDS = 1e-6  # how far inside its bounds a search starts


@dataclass(frozen=True)
class EmpiricalLaw:
    """An empirical law, and how it is fitted."""

    log_error: Callable[..., Any]  # (x, *parameters) -> y
    starts: Callable[[Array, Array], list[tuple[float, ...]]]  # points (x, y) -> parameters that a search starts from
    low: tuple[float, ...]  # least values of the parameters
    high: tuple[float, ...]  # and their largest

    @property
    def size(self) -> int:
        """The number of parameters."""
        return len(self.low)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """a and b of the power law through the points, with b within the bounds."""
    slope, level = np.polyfit(x, y, 1)
    return float(level), float(np.clip(-slope, 1e-3, 9.9))


def _power(x: Any, a: float, b: float) -> Any:
    return a - b * x


def _power_starts(x: Array, y: Array) -> list[tuple[float, ...]]:
    return [_line(x, y)]


def _with_floor(x: Any, a: float, b: float, log_c: float) -> Any:
    return np.logaddexp(a - b * x, log_c)


def _with_floor_starts(x: Array, y: Array) -> list[tuple[float, ...]]:
    """Floors a little, by a half, and by far below the least error."""
    return [(*_line(x, y), float(y.min()) - below) for below in (0.05, 0.7, 3.0)]


def _broken(x: Any, a: float, b: float, s: float, log_n1: float) -> Any:
    return a - b * x - s * np.logaddexp(0.0, x - log_n1)


def _broken_starts(x: Array, y: Array) -> list[tuple[float, ...]]:
    """No break yet, at the quartiles of the sizes."""
    return [(*_line(x, y), 0.0, float(at)) for at in np.quantile(x, (0.25, 0.75))]


LAWS = {
    "power law": EmpiricalLaw(
        _power,
        _power_starts,
        low=(-50.0, 0.0),
        high=(50.0, 10.0),
    ),
    "power law with floor": EmpiricalLaw(
        _with_floor,
        _with_floor_starts,
        low=(-50.0, 0.0, -30.0),
        high=(50.0, 10.0, 0.0),
    ),
    "broken power law": EmpiricalLaw(
        _broken,
        _broken_starts,
        low=(-50.0, 0.0, -10.0, -5.0),
        high=(50.0, 10.0, 10.0, 40.0),
    ),
}


@dataclass(frozen=True)
class LawFit:
    """An empirical law with fitted parameters."""

    law: EmpiricalLaw
    parameters: Float[np.ndarray, " parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]
    freedom: int  # points that are left after the parameters
    scatter: float  # relative standard deviation of a point

    def predict(
        self, kept: ArrayLike, level: float = 0.95
    ) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        """Errors at other sizes, and the band of a new measurement to first order.

        Parameters
        ----------
        kept
            Numbers of training rows (points,).
        level
            Level of the band.

        Returns
        -------
        error, low, high
            The law's error, and the ends of the band.
        """
        x = np.log(np.asarray(kept, float))
        y = self.law.log_error(x, *self.parameters)
        slopes = self._slopes(x)
        variance = np.einsum("ip,ij,jp->p", slopes, self.covariance, slopes) + self.scatter**2
        half = stdtrit(self.freedom, (1 + level) / 2) * np.sqrt(variance)
        return np.exp(y), np.exp(y - half), np.exp(np.minimum(y + half, 0.0))

    def _slopes(self, x: Array) -> Array:
        """∂y/∂parameters (parameters, points)."""
        slopes = []
        for step in _STEP * np.maximum(1.0, np.abs(self.parameters)) * np.eye(len(self.parameters)):
            ahead = self.law.log_error(x, *(self.parameters + step))
            back = self.law.log_error(x, *(self.parameters - step))
            slopes.append((ahead - back) / (2 * step.sum()))
        return np.array(slopes)


def fit_law(name: str, curve: Curve) -> LawFit:
    """An empirical law, fitted to the logarithms of a curve's points by least squares.

    Points weigh by their standard errors if they have any.

    Parameters
    ----------
    name
        One of LAWS.
    curve
        Points of one strategy, at one size more than the law has parameters.

    Returns
    -------
    LawFit
        The law with its parameters and their covariance.

    Raises
    ------
    InputError
        For an unknown law, and for too few sizes.
    ConvergenceError
        Where no search ends.
    """
    if name not in LAWS:
        raise InputError(f"unknown law '{name}': one of {', '.join(LAWS)}")
    law = LAWS[name]
    x = np.log(curve.kept)
    y = np.log(curve.error)
    sizes = len(np.unique(x))
    if sizes < law.size + 1:
        raise InputError(f"a {name} needs {law.size + 1} sizes: this curve has {sizes}")
    has_se = not np.isnan(curve.se).any()
    sigma = curve.se / curve.error if has_se else np.ones(len(x))
    parameters, covariance, chi_square = _least_squares(name, x, y, sigma)
    freedom = len(x) - law.size
    excess = chi_square / freedom
    if has_se:
        excess = max(1.0, excess)
    return LawFit(law, parameters, excess * covariance, freedom, float(np.sqrt(excess) * np.median(sigma)))


def _least_squares(name: str, x: Array, y: Array, sigma: Array) -> tuple[Array, Array, float]:
    """Parameters, their covariance and χ² of the best of the searches that end."""
    from scipy.optimize import curve_fit

    law = LAWS[name]
    found = []
    for start in law.starts(x, y):
        inside = np.clip(start, np.asarray(law.low) + _OFF_BOUNDS, np.asarray(law.high) - _OFF_BOUNDS)
        try:
            parameters, covariance = curve_fit(
                law.log_error,
                x,
                y,
                inside,
                sigma,
                absolute_sigma=True,
                bounds=(law.low, law.high),
                max_nfev=_MOST_EVALUATIONS,
            )
        except RuntimeError:  # it needs more evaluations
            continue
        chi_square = float(np.sum(((y - law.log_error(x, *parameters)) / sigma) ** 2))
        found.append((parameters, covariance, chi_square))
    if not found:
        raise ConvergenceError(f"a {name} does not fit this curve: no search ends in {_MOST_EVALUATIONS} evaluations")
    return min(found, key=lambda one: one[2])
