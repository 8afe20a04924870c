"""The error of more plain rows, foreseen by the theory and by a power law together: (T9.13) to (T9.15),
docs/theory/fit.md.
"""

import numpy as np
from scipy.special import expit, ndtri, stdtrit

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import LEVEL, Fit
from dp_theory.numerics.checks import Array, Float

# The fewest sizes of plain points at which the theory and the power law are told apart.
MIN_SIZES = 6
# A power law's parameters: level, slope and floor.
_FREE = 3
# The fewest sizes that the power law is fitted to.
_MIN_SIZES = 5
# Shares of the sizes, the largest ones, which the power law is fitted to.
_SHARES = (1.0, 0.75, 0.5)
# Samples of the curve for each share.
_SAMPLES = 300
# The floors that are tried, over the least error of a sample.
_FLOORS = np.concatenate([[0.0], 1 - np.geomspace(0.97, 0.02, 30)])
# The least relative noise of a point of a sample.
_MIN_NOISE = 0.004
# The least exponent of a power law.
_MIN_SLOPE = 1e-3
# The quantiles that stand for a distribution.
_LEVELS = (np.arange(99) + 0.5) / 99
# The least scatter of (T9.15): points without noise may bend as well.
_MIN_BEND = 0.01
# The freedom of Student's t, whose tails let a few curves turn by far.
_TURN_FREEDOM = 4
# The number of its quantiles that are taken.
_TURNS = 15


def theory_weight(fitted: Fit) -> float | None:
    """The theory's probability on the plain points, if it or the power law is true (T9.14), or None for few sizes."""
    curve = fitted.curve
    rows = curve.plain
    if np.unique(curve.kept[rows]).size < MIN_SIZES:
        return None
    plain = curve.at(rows)
    mean, variance, _ = fitted.likelihood.moments(fitted.best[None])
    y = np.log(plain.error)
    sigma = np.sqrt(variance[0, rows]) / plain.error
    _, (of_law,) = _power_laws(np.log(plain.kept), y[None], sigma)
    of_theory = (((np.log(mean[0, rows]) - y) / sigma) ** 2).sum()
    per_point = np.maximum([of_theory, of_law], 1e-300) / len(y)
    is_estimated = (per_point > 1) | (not plain.knows_scatter)
    deviance = len(y) * np.where(is_estimated, 1 + np.log(per_point), per_point)
    free = [len({*fitted.likelihood.free} - {"rho", "window"}), _FREE]
    criterion = deviance + np.log(len(y)) * np.array(free)
    return float(expit((criterion[1] - criterion[0]) / 2))


def mixture(
    plain: Curve, sizes: Float[Array, " sizes"], weight: float, theory: Float[Array, "3 sizes"]
) -> Float[Array, "3 sizes"]:
    """Median errors and the ends of their intervals, from the theory's weight, mean errors and ends of intervals.

    The theory's ln E is normal on either side of the mean.
    """
    mean, low, high = theory
    q = ndtri(_LEVELS)[:, None]
    half = np.where(q < 0, np.log(mean / low), np.log(high / mean))
    members = [np.log(mean) + q / ndtri((1 + LEVEL) / 2) * half, power_law_draws(plain, sizes)]
    shares = zip(members, (weight, 1 - weight), strict=True)
    weights = np.concatenate([np.full(len(draws), share / len(draws)) for draws, share in shares])
    scatter = np.hypot(np.median(_scatter(plain)), _MIN_BEND)
    beyond = np.log(np.maximum(sizes / plain.kept.max(), 1.0))
    turns = scatter * stdtrit(_TURN_FREEDOM, (np.arange(_TURNS) + 0.5) / _TURNS)
    turned = np.concatenate(members) + turns[:, None, None] * beyond  # (T9.15)
    log_error = np.minimum(turned, 0.0).reshape(-1, len(sizes))
    ends = [0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return np.exp(np.quantile(log_error, ends, axis=0, weights=np.tile(weights, _TURNS), method="inverted_cdf"))


def _scatter(points: Curve) -> Array:
    return np.nan_to_num(points.se / points.error)


def power_law_draws(seen: Curve, kept: Array) -> Float[Array, "draws sizes"]:
    """Draws of ln E, by fits to samples of the seen points."""
    rng = np.random.default_rng(0)
    sizes = np.unique(seen.kept)
    draws = []
    for share in _SHARES:
        used = max(min(len(sizes), _MIN_SIZES), int(np.ceil(share * len(sizes))))
        points = seen.at(seen.kept >= sizes[-used])
        x = np.log(points.kept)
        y = np.log(points.error)
        known = _scatter(points)
        sigma = np.maximum(known, _MIN_NOISE) if known.all() else np.ones(len(y))
        _, (least,) = _power_laws(x, y[None], sigma)
        excess = least / max(1, len(y) - _FREE)
        noise = np.maximum(np.sqrt(max(1.0, excess) if known.all() else excess) * sigma, _MIN_NOISE)
        laws, _ = _power_laws(x, y + noise * rng.standard_normal((_SAMPLES, len(y))), sigma)
        draws.append(_power_law_log_error(laws, np.log(kept)))
    return np.concatenate(draws)


def _power_laws(
    x: Array, y: Float[Array, "samples points"], sigma: Array
) -> tuple[Float[Array, "3 samples"], Float[Array, " samples"]]:
    """(ln A, −b, ln c) of the most likely power law of each sample, and its χ²: a weighted line in ln (E − c) for each
    floor that is tried.
    """
    error = np.exp(y)
    floor = _FLOORS[:, None] * error.min(axis=1)  # (floors, samples)
    above = error - floor[..., None]
    weight = (above / error / sigma) ** 2
    weight = weight / weight.sum(axis=-1, keepdims=True)
    z = np.log(above)
    centre = (weight * x).sum(axis=-1)
    off = x - centre[..., None]
    slope = (weight * off * z).sum(axis=-1) / (weight * off**2).sum(axis=-1)
    slope = np.minimum(slope, -_MIN_SLOPE)
    laws = np.stack([(weight * z).sum(axis=-1) - slope * centre, slope, np.log(floor + 1e-300)])
    chi_square = (((_power_law_log_error(laws, x) - y) / sigma) ** 2).sum(axis=-1)
    best = chi_square.argmin(axis=0), np.arange(len(y))
    return laws[:, *best], chi_square[best]


def _power_law_log_error(laws: Float[Array, "3 *samples"], x: Float[Array, " sizes"]) -> Float[Array, "*samples sizes"]:
    """(T9.13)."""
    level, slope, log_floor = laws[..., None]
    return np.logaddexp(level + slope * x, log_floor)
