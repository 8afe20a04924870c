"""The error of more plain rows, foreseen by the theory and by a power law together: (T9.13) to (T9.15),
docs/theory/fit.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtri, stdtrit

from dp_base.errors import ConvergenceError, InputError
from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import pdf

THEORY = "theory"
POWER_LAW = "power law with floor"
# The fewest sizes of plain points at which hidden tails tell members apart.
MIN_SIZES = 6
# Sizes that a member is fitted to before it is judged.
_FEWEST_VISIBLE = 5
# Numbers of hidden sizes that are tried.
_MOST_CUTS = 4
# Shares of the sizes, the largest ones, which the power law is fitted to.
_SHARES = (1.0, 0.75, 0.5)
# Samples of the curve for each share.
_SAMPLES = 300
# The floors that are tried, over the least error of a sample.
_FLOORS = np.concatenate([[0.0], 1 - np.geomspace(0.97, 0.02, 30)])
# The least relative noise of a point of a sample.
_LEAST_NOISE = 0.004
# The least exponent of a power law.
_LEAST_SLOPE = 1e-3
# The quantiles that stand for a distribution.
_LEVELS = (np.arange(99) + 0.5) / 99
# The level of the intervals that the theory's draws are made of.
_LEVEL = 0.95
# The least relative scatter of a hidden point about its prediction.
_LEAST_SCATTER = 0.03
# The share of a hidden point's density that no member accounts for.
_DOUBT = 0.1
# The width of ln E over which that share is spread.
_WIDTH_OF_DOUBT = 3.0
# The power of the density of hidden points, which err together.
_TRUST = 0.5
# The least scatter of (T9.15): points without noise may bend as well.
_LEAST_BEND = 0.01
# The freedom of Student's t, whose tails let a few curves turn by far.
_TURN_FREEDOM = 4
# The number of its quantiles that are taken.
_TURNS = 15


@dataclass(frozen=True)
class Stack:
    """The theory and the power law for one curve."""

    plain: Curve  # the plain points
    weights: Mapping[str, float]  # of THEORY and POWER_LAW; they sum to 1

    def quantiles(
        self, sizes: Float[Array, " sizes"], theory: Float[Array, "draws sizes"], levels: Sequence[float]
    ) -> Float[Array, "levels sizes"]:
        """Errors at some sizes, from the theory's draws of ln E there."""
        members = [theory if name == THEORY else power_law_draws(self.plain, sizes) for name in self.weights]
        shares = zip(members, self.weights.values(), strict=True)
        weight = np.concatenate([np.full(len(draws), share / len(draws)) for draws, share in shares])
        scatter = np.hypot(np.median(_scatter(self.plain)), _LEAST_BEND)
        beyond = np.log(np.maximum(sizes / self.plain.kept.max(), 1.0))
        turns = scatter * stdtrit(_TURN_FREEDOM, (np.arange(_TURNS) + 0.5) / _TURNS)
        turned = np.concatenate(members) + turns[:, None, None] * beyond  # (T9.15)
        log_error = np.minimum(turned, 0.0).reshape(-1, len(sizes))
        weights = np.tile(weight, _TURNS)
        return np.exp(np.quantile(log_error, levels, axis=0, weights=weights, method="inverted_cdf"))

    def note(self) -> str:
        ranked = sorted(self.weights.items(), key=lambda entry: -entry[1])
        return ", ".join(f"{name} {weight:.2g}" for name, weight in ranked if weight >= 0.05)


def stack(fitted: Fit) -> Stack | None:
    """The family of a fit's curve, or None where its plain sizes are too few."""
    curve = fitted.curve
    sizes = np.unique(curve.kept[curve.plain])
    if len(sizes) < MIN_SIZES:
        return None
    plain = curve.at(curve.plain)
    fixed = {name: fitted.values[name] for name, reason in fitted.why_fixed.items() if reason == "fixed"}
    names = (THEORY, POWER_LAW)
    scores = np.zeros(len(names))
    cuts = min(_MOST_CUTS, len(sizes) - _FEWEST_VISIBLE)
    for hide in range(1, cuts + 1):
        is_hidden = plain.kept >= sizes[-hide]
        seen, unseen = plain.at(~is_hidden), plain.at(is_hidden)
        times = cuts + 1 - len(sizes) + np.searchsorted(sizes, unseen.kept)  # that a point is hidden in all
        scores += [float(1 / times @ _log_density(name, seen, unseen, fixed, fitted)) for name in names]
    scores *= _TRUST
    weights = np.exp(scores - logsumexp(scores))
    return Stack(plain, dict(zip(names, weights.tolist(), strict=True)))


def theory_draws(bands: Float[Array, "3 sizes"], level: float) -> Float[Array, "draws sizes"]:
    """Draws of a normal of ln E on either side of the mean, from mean errors and the ends of their intervals."""
    mean, low, high = bands
    q = ndtri(_LEVELS)[:, None]
    reach = ndtri((1 + level) / 2)
    return np.log(mean) + q * np.where(q < 0, np.log(mean / low) / reach, np.log(high / mean) / reach)


def _log_density(name: str, seen: Curve, unseen: Curve, fixed: Mapping[str, float], near: Fit) -> Array:
    doubt = _DOUBT / _WIDTH_OF_DOUBT
    try:
        if name == THEORY:
            fitted = fit(seen, fixed, near)
            bands = np.exp(fitted.likelihood.first_order(unseen, fitted.best, fitted.allowed(_LEVEL)))
            draws = theory_draws(bands, _LEVEL)
        else:
            draws = power_law_draws(seen, unseen.kept)
    except (InputError, ConvergenceError):
        return np.full(len(unseen), np.log(doubt))
    sigma = np.maximum(_scatter(unseen), _LEAST_SCATTER)
    density = np.mean(pdf((np.log(unseen.error) - draws) / sigma) / sigma, axis=0)
    return np.log(doubt + (1 - _DOUBT) * density)


def _scatter(points: Curve) -> Array:
    return np.nan_to_num(points.se / points.error)


def power_law_draws(seen: Curve, kept: Array) -> Float[Array, "draws sizes"]:
    """Draws of ln E, by fits to samples of the seen points."""
    rng = np.random.default_rng(0)
    sizes = np.unique(seen.kept)
    draws = []
    for share in _SHARES:
        used = max(min(len(sizes), _FEWEST_VISIBLE), int(np.ceil(share * len(sizes))))
        points = seen.at(seen.kept >= sizes[-used])
        x = np.log(points.kept)
        y = np.log(points.error)
        known = _scatter(points)
        sigma = np.maximum(known, _LEAST_NOISE) if known.all() else np.ones(len(y))
        _, (least,) = _power_laws(x, y[None], sigma)
        excess = least / max(1, len(y) - 3)
        noise = np.maximum(np.sqrt(max(1.0, excess) if known.all() else excess) * sigma, _LEAST_NOISE)
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
    slope = np.minimum(slope, -_LEAST_SLOPE)
    laws = np.stack([(weight * z).sum(axis=-1) - slope * centre, slope, np.log(floor + 1e-300)])
    chi_square = (((_power_law_log_error(laws, x) - y) / sigma) ** 2).sum(axis=-1)
    best = chi_square.argmin(axis=0), np.arange(len(y))
    return laws[:, *best], chi_square[best]


def _power_law_log_error(laws: Float[Array, "3 *samples"], x: Float[Array, " sizes"]) -> Float[Array, "*samples sizes"]:
    """(T9.13)."""
    level, slope, log_floor = laws[..., None]
    return np.logaddexp(level + slope * x, log_floor)
