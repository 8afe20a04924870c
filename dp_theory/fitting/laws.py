"""The usual empirical laws of error against training rows, fitted to one strategy's points.

power law              E = A n^-b
power law with floor   E = A n^-b + c
broken power law       E = A n^-b (1 + n/n1)^-s     the slope goes from -b to -(b + s) around n1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from dp_base.errors import InputError
from dp_theory.fitting.curve import Curve
from dp_theory.numerics.checks import Array


@dataclass(frozen=True)
class Law:
    """ln E as a function of (ln n, parameters), and parameters to start from, given points (ln n, ln E)."""

    log_error: Callable[..., Any]
    starts: Callable[[Array, Array], list[tuple[float, ...]]]
    bounds: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def size(self) -> int:
        """The number of parameters."""
        return len(self.bounds[0])


def _line(x: Array, y: Array) -> tuple[float, float]:
    """ln A and b of a power law."""
    slope, level = np.polyfit(x, y, 1)
    return float(level), float(np.clip(-slope, 1e-3, 9.9))


LAWS = {
    "power law": Law(
        lambda x, a, b: a - b * x, lambda x, y: [_line(x, y)], ((-50.0, 0.0), (50.0, 10.0))
    ),
    "power law with floor": Law(
        lambda x, a, b, c: np.logaddexp(a - b * x, c),
        lambda x, y: [(*_line(x, y), float(y.min()) - off) for off in (0.05, 0.7, 3.0)],
        ((-50.0, 0.0, -30.0), (50.0, 10.0, 0.0)),
    ),
    "broken power law": Law(
        lambda x, a, b, s, at: a - b * x - s * np.logaddexp(0.0, x - at),
        lambda x, y: [(*_line(x, y), 0.0, float(at)) for at in np.quantile(x, (0.25, 0.75))],
        ((-50.0, 0.0, -10.0, -5.0), (50.0, 10.0, 10.0, 40.0)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class LawFit:
    """A law with its parameters, their covariance, and the relative deviation of a point (its scatter)."""

    law: Law
    parameters: Array
    covariance: Array
    freedom: int
    scatter: float

    def predict(self, kept: Any, level: float = 0.95) -> tuple[Array, Array, Array]:
        """Errors at numbers of training rows (points,), and the band of a new measurement, to first order."""
        x = np.log(np.asarray(kept, float))
        value = self.law.log_error(x, *self.parameters)
        steps = 1e-5 * np.maximum(1.0, np.abs(self.parameters)) * np.eye(len(self.parameters))
        slopes = np.array(
            [
                (self.law.log_error(x, *(self.parameters + h)) - self.law.log_error(x, *(self.parameters - h)))
                / (2 * h.sum())
                for h in steps
            ]
        )
        variance = np.einsum("ip,ij,jp->p", slopes, self.covariance, slopes) + self.scatter**2
        half = stdtrit(self.freedom, (1 + level) / 2) * np.sqrt(variance)
        return np.exp(value), np.exp(value - half), np.exp(np.minimum(value + half, 0.0))


def fit_law(name: str, curve: Curve) -> LawFit:
    """The law of that name (see LAWS), fitted to the logarithms of the points by least squares.

    Points weigh by their standard errors if they have any. Raises InputError for an unknown law, and for fewer points
    than parameters + 1.
    """
    from scipy.optimize import curve_fit

    if name not in LAWS:
        raise InputError(f"unknown law '{name}': one of {', '.join(LAWS)}")
    law, x, y = LAWS[name], np.log(curve.kept), np.log(curve.error)
    freedom = len(x) - law.size
    if freedom < 1 or len(np.unique(x)) < law.size + 1:
        raise InputError(f"a {name} needs {law.size + 1} sizes: this curve has {len(np.unique(x))}")
    known = not np.isnan(curve.se).any()
    sigma = curve.se / curve.error if known else np.ones(len(x))
    found = []
    for start in law.starts(x, y):
        start = np.clip(
            start, *(np.asarray(bound) + shift for bound, shift in zip(law.bounds, (1e-6, -1e-6), strict=True))
        )
        values, covariance = curve_fit(
            law.log_error, x, y, start, sigma, absolute_sigma=True, bounds=law.bounds, max_nfev=2000
        )
        chi_square = float(np.sum(((y - law.log_error(x, *values)) / sigma) ** 2))
        found.append((chi_square, values, covariance))
    chi_square, values, covariance = min(found, key=lambda one: one[0])
    excess = chi_square / freedom
    excess = max(1.0, excess) if known else excess
    return LawFit(law, values, excess * covariance, freedom, float(np.sqrt(excess) * np.median(sigma)))
