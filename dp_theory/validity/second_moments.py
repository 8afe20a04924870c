"""What ridge regression makes of kept rows when all their second moments are measured, beyond a plane (ours).

With E over kept rows of mean length s̄, n training rows and ⟨A, B⟩ = tr AᵀB:

    T = E[xxᵀ/(1 + sδ)],  R = (T + λ)^-1,  δ = ⟨E[xxᵀ], R⟩/(n s̄)                the deterministic equivalent   (1)
    w = R E[yx/(1 + sδ)]                                                         the mean of ŵ                  (2)
    V = R E[((y − x·w)² + sv) xxᵀ/(1 + sδ)²] R/n,  v = ⟨E[xxᵀ], V⟩/s̄            its covariance, linear in v    (3)

The moments are those of N rows, whose own noise, a share n/N of V, is in w: scores are left out one by one.
"""

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import ndtr

from dp_theory.numerics.checks import Array
from dp_theory.rules import Rule
from dp_theory.validity.view import FeatureView

# Groups of rows of similar length s, which share their mean.
LEVELS = 16
# The relative error of δ.
_PRECISION = 1e-12
# The least variance of x·ŵ, over the mean square of x·w.
_MIN_VARIANCE = 1e-12
# A sum of squares that may be divided by.
_LEAST = 1e-300


class KeptMoments:
    """The second moments of kept rows of a view, and the error that follows."""

    def __init__(self, view: FeatureView, rule: Rule) -> None:
        self.view = view
        self.keep = view.keep_probability(rule)  # q (rows,)
        self.kept_rows = float(self.keep.sum())

    @property
    def independent(self) -> float:
        """How many rows the moments are as certain as."""
        return self.kept_rows**2 / max(float(np.square(self.keep).sum()), _LEAST)

    def error(self, n: float, lam: float) -> float:
        x = self.view.x
        y = self.view.y
        s = self.view.lengths
        quantiles = np.quantile(s, np.arange(1, LEVELS) / LEVELS)
        used, of_row = np.unique(np.searchsorted(quantiles, s), return_inverse=True)
        members = [np.flatnonzero(of_row == level) for level in range(len(used))]
        length = np.array([s[rows].mean() for rows in members])  # s (levels,)
        share = self.keep / self.kept_rows
        seconds = np.array([(share[rows] * x[rows].T) @ x[rows] for rows in members])  # E[xxᵀ; level] (levels, d, d)
        pulls = np.array([(share[rows] * y[rows]) @ x[rows] for rows in members])  # E[yx; level] (levels, d)
        second = seconds.sum(0)  # E[xxᵀ]
        mean_length = float(self.keep @ s) / self.kept_rows  # s̄

        def equivalent(delta: float) -> tuple[Array, Array]:
            """1/(1 + sδ) of each level, and R."""
            soft = 1 / (1 + delta * length)
            return soft, np.linalg.inv(np.tensordot(soft, seconds, axes=1) + lam * np.eye(len(second)))

        def right_side(delta: float) -> float:
            return float(np.vdot(second, equivalent(delta)[1])) / n / mean_length

        def excess(log_delta: float) -> float:
            return float(np.log(right_side(np.exp(log_delta))) - log_delta)

        low = float(np.log(right_side(0.0))) - _PRECISION
        high = float(np.log(float(np.trace(second)) / lam / n / mean_length)) + _PRECISION
        solution = root_scalar(excess, bracket=(low, high), xtol=_PRECISION)
        soft, resolvent = equivalent(float(np.exp(solution.root)))

        weight = self.keep * soft[of_row] / self.kept_rows
        leverage = weight * _quadratic(x, resolvent)
        score = (x @ (resolvent @ (soft @ pulls)) - leverage * y) / (1 - leverage)  # x·w, left out: (2)

        noise = weight * soft[of_row]
        constant = resolvent @ ((noise * np.square(y - score) * x.T) @ x) @ resolvent / n  # F
        growth = resolvent @ ((noise * s * x.T) @ x) @ resolvent / n  # G
        of_constant = float(np.vdot(second, constant)) / mean_length  # f
        of_growth = float(np.vdot(second, growth)) / mean_length  # g
        unseen = max(0.0, 1 - n / self.independent)  # share of V that is not in the scores yet
        covariance = constant + unseen * of_constant / (1 - unseen * of_growth) * growth  # (3)
        least = _MIN_VARIANCE * np.square(score).mean()
        variance = np.maximum(unseen * _quadratic(x, covariance), least)
        return float(ndtr(-y * score / np.sqrt(variance)).mean())


def _quadratic(x: Array, matrix: Array) -> Array:
    return np.asarray(((x @ matrix) * x).sum(1))
