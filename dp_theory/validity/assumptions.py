"""A test for each assumption of the Gaussian theory: a statistic, and the probability of one as large if it holds.

z are the whitened rows; t, ζ, g, v and γ are those of dp_theory.validity.view.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, log_ndtr, ndtr

from dp_theory.numerics.checks import Array, Float
from dp_theory.validity.view import FeatureView

# Groups of rows by their margin; with an odd number there is one around 0.
BINS = 21
# The A*² beyond which the formula for its p-value ends: at exp(−69).
MAX_SQUARE = 13.0
# The least variance of the count of positive labels in a group.
_MIN_VARIANCE = 0.5


class AssumptionTest(NamedTuple):
    """The answer of a test."""

    statistic: str  # its name and value, for people
    p_value: float


def normal(sample: Float[Array, " rows"]) -> AssumptionTest:
    """A*² of Anderson and Darling, with fitted mean and variance."""
    square = anderson_darling(sample)
    return AssumptionTest(f"A*² = {square:.3g}", anderson_p(square))


def uniform_flips(view: FeatureView) -> AssumptionTest:
    """Labels are flipped with the same probability ε: χ² of labels in BINS groups of rows by v, against

        P(y = 1) = ε + (1 − 2ε) Φ((v − b)/tan γ)

    at its least over ε, b and tan γ, whose logarithm has a prior of width 1/√(2d).
    """
    from scipy.optimize import minimize

    rows = len(view.y)
    order = np.argsort(view.score)
    score = view.score[order]
    scatter = 1 / np.sqrt(rows)
    tangent = max(view.tangent, scatter)

    def group_sums(values: Array) -> Array:
        return np.array([group.sum() for group in np.array_split(values, BINS)])

    seen = group_sums((view.y[order] > 0).astype(float))

    def chi_square(fitted: Array) -> float:
        flips, offset, log_ratio = fitted
        positive = flips + (1 - 2 * flips) * ndtr((score - offset) / (tangent * np.exp(log_ratio)))
        variance = np.maximum(group_sums(positive * (1 - positive)), _MIN_VARIANCE)
        prior = 2 * view.dimension * log_ratio**2
        return float(((seen - group_sums(positive)) ** 2 / variance).sum() + prior)

    bounds = [(0.5 / rows, 0.5), (-1.0, 1.0), (-1.0, 1.0)]
    start = np.array([np.clip(view.flips, *bounds[0]), 0.0, 0.0])
    steps = np.array([scatter if start[0] < 0.25 else -scatter, scatter, 1 / np.sqrt(view.dimension)])
    simplex = start + np.vstack([np.zeros(3), np.diag(steps)])  # at its default size, b would hardly move from 0
    fit = minimize(chi_square, start, method="Nelder-Mead", bounds=bounds, options={"initial_simplex": simplex})
    freedom = BINS - 2
    return AssumptionTest(f"χ²/{freedom} = {fit.fun / freedom:.3g}", float(chdtrc(freedom, fit.fun)))


def equal_lengths(view: FeatureView) -> AssumptionTest:
    """The leverage of normal rows has the law Beta(d/2, (N − d)/2)."""
    rows = len(view.y)
    dimension = view.dimension - len(view.plane)
    leverage = np.square(view.off_plane).sum(1)
    of_normal_rows = 2 * (1 - dimension / rows) / dimension
    ratio = float(leverage.var() / leverage.mean() ** 2) / of_normal_rows
    z = (ratio - 1) / np.sqrt((2 + 6 * of_normal_rows) / rows)
    return AssumptionTest(f"variance {ratio:.3g} × normal", float(ndtr(-z)))


def anderson_darling(sample: Float[Array, " rows"]) -> float:
    """A²(1 + .75/N + 2.25/N²); scipy.stats takes long to import."""
    n = len(sample)
    w = (np.sort(sample) - np.mean(sample)) / np.std(sample, ddof=1)
    i = np.arange(1, n + 1)
    square = float(-n - np.sum((2 * i - 1.0) / n * (log_ndtr(w) + log_ndtr(-w)[::-1])))
    return square * (1 + 0.75 / n + 2.25 / n**2)


def anderson_p(square: float) -> float:
    """P(A*² ≥ square) (D'Agostino and Stephens 1986, table 4.9)."""
    a = min(square, MAX_SQUARE)
    if a >= 0.6:
        return float(np.exp(1.2937 - 5.709 * a + 0.0186 * a**2))
    if a >= 0.34:
        return float(np.exp(0.9177 - 4.279 * a - 1.38 * a**2))
    if a >= 0.2:
        return float(1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2))
    return float(1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2))
