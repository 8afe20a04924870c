"""The error of more plain rows, foreseen by the theory and by empirical laws together, weighted by hidden tails.

A measured curve need not come from the theory. Beside it stand laws of the form

    ln (E − c) − α ln(E0 − E) = ln A − b ln n,   0 ≤ c < min E,   α = 0 or 1, E0 = 1/2                       (T9.13)

For α = 0 this is the power law with floor, and for α = 1 it saturates at chance. They are M2 and M4 of Alabdulmohsin,
Neyshabur and Zhai 2022 ("Revisiting neural scaling laws in language and vision"). Each is fitted to all sizes, and to
the larger ones alone. For a given floor c, (T9.13) is a straight line. A law is a mixture of lines over floors,
weighted by their likelihood, so that all floors that the points allow are foreseen.

The members of the family are weighted by the density that they give to points which they have not seen: the largest
sizes, hidden one by one, two by two and so on. Hidden points are foreseen from points that they share, so that they err
together and say less than as many independent ones: the density counts by its square root. What is foreseen is the
mixture of all members. Its intervals are as wide as the members disagree, as far as hidden points have not decided
between them.

A real curve may bend beyond its points in a way that no member has, and points that scatter hide such a bend. So the
slope of ln E against ln n beyond the largest size N is uncertain by itself, in proportion to the scatter s of a point:

    ln E(n) = (what a member expects) + T s ln(n/N),   n > N,   T = TURN times a variable of Student's t         (T9.15)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp, ndtri, stdtrit

from dp_base.errors import ConvergenceError, InputError
from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float

THEORY = "theory"
CHANCE = 0.5  # E0: the test error of a guess between two classes
FEWEST_SIZES = 6  # of plain points, for hidden tails to tell members apart
_FEWEST_VISIBLE = 5  # sizes that a member is fitted to before it is judged
_FEWEST_OF_LAW = 4  # sizes that a law is fitted to
_MOST_CUTS = 4  # numbers of hidden sizes that are tried
_FLOORS = np.concatenate([[0.0], 1 - np.geomspace(0.95, 0.03, 24)])  # c over the least error of the line
_LEVELS = (np.arange(99) + 0.5) / 99  # of the quantiles that stand for a distribution
_LEAST_SCATTER = 0.03  # relative, of a hidden point about what is foreseen
_DOUBT = 0.1  # share of a hidden point's density that no member accounts for,
_WIDTH_OF_DOUBT = 3.0  # spread over so much of ln E
_TRUST = 0.5  # power of the density of hidden points, which err together
TURN = 1.25  # of the slope beyond the points, over their scatter
_TURN_FREEDOM = 4  # of Student's t, whose tails let a few curves turn by far
_TURNS = 15  # quantiles of it


@dataclass(frozen=True)
class Foreseen:
    """What a member, or the whole family, expects at some sizes: weighted draws of ln E."""

    log_error: Float[np.ndarray, "draws sizes"]
    weight: Float[np.ndarray, " draws"]

    def quantiles(self, level: float) -> Float[np.ndarray, " sizes"]:
        """The errors below which this share of the weight lies."""
        order = np.argsort(self.log_error, axis=0)
        cumulated = np.cumsum(self.weight[order], axis=0)
        place = (cumulated < level * cumulated[-1]).sum(axis=0)
        place = np.minimum(place, len(order) - 1)
        return np.exp(np.take_along_axis(self.log_error, np.take_along_axis(order, place[None], 0), 0)[0])


@dataclass(frozen=True)
class Stack:
    """The family for one curve.

    Attributes
    ----------
    plain
        The plain points of the curve.
    weights
        The weight of each member, by name; they sum to 1. Laws that do not suit the curve are no members.
    """

    plain: Curve
    weights: Mapping[str, float]

    def foreseen(self, sizes: Float[np.ndarray, " sizes"], theory: Foreseen) -> Foreseen:
        """What the family expects at these sizes, with what the theory expects there."""
        draws = []
        weights = []
        for name, weight in self.weights.items():
            member = theory if name == THEORY else law_draws(name, self.plain, sizes)
            draws.append(member.log_error)
            weights.append(weight * member.weight / member.weight.sum())
        return self._turned(sizes, Foreseen(np.concatenate(draws), np.concatenate(weights)))

    def _turned(self, sizes: Array, mixture: Foreseen) -> Foreseen:
        """The mixture at these sizes with an uncertain slope beyond the points: (T9.15)."""
        scatter = float(np.median(_scatter(self.plain)))
        if not scatter:
            return mixture
        beyond = np.log(np.maximum(sizes / self.plain.kept.max(), 1.0))
        turns = TURN * scatter * stdtrit(_TURN_FREEDOM, (np.arange(_TURNS) + 0.5) / _TURNS)
        turned = mixture.log_error + turns[:, None, None] * beyond
        return Foreseen(np.minimum(turned, 0.0).reshape(-1, len(sizes)), np.tile(mixture.weight, _TURNS))

    def note(self) -> str:
        """The members that count, the heaviest first, in one line."""
        ranked = sorted(self.weights.items(), key=lambda entry: -entry[1])
        return ", ".join(f"{name} {weight:.2g}" for name, weight in ranked if weight >= 0.05)


def stack(fitted: Fit) -> Stack | None:
    """The family for the curve of a fit, weighted by hidden tails. None where its plain sizes are too few."""
    plain = fitted.curve.at(fitted.curve.plain) if fitted.curve.plain.any() else None
    if plain is None or len(np.unique(plain.kept)) < FEWEST_SIZES:
        return None
    fixed = {name: fitted.values[name] for name, reason in fitted.why_fixed.items() if reason == "fixed"}
    names = [THEORY, *(name for name, law in _LAWS.items() if law.suits(plain))]
    scores = np.zeros(len(names))
    sizes = np.unique(plain.kept)
    cuts = min(_MOST_CUTS, len(sizes) - _FEWEST_VISIBLE)
    for hide in range(1, cuts + 1):
        seen = plain.at(plain.kept < sizes[-hide])
        unseen = plain.at(plain.kept >= sizes[-hide])
        share = 1 / np.array([cuts + 1 - np.count_nonzero(sizes >= size) for size in unseen.kept])
        for i, name in enumerate(names):
            scores[i] += float(share @ _log_density(name, seen, unseen, fixed))
    scores *= _TRUST
    weights = np.exp(scores - logsumexp(scores))
    return Stack(plain, dict(zip(names, weights.tolist(), strict=True)))


def theory_draws(mean: Array, low: Array, high: Array, level: float) -> Foreseen:
    """What the theory expects: quantiles of a normal of ln E on either side of the mean, with these ends (sizes,)."""
    q = ndtri(_LEVELS)[:, None]
    reach = ndtri((1 + level) / 2)
    below = np.log(mean / low) / reach
    above = np.log(high / mean) / reach
    return Foreseen(np.log(mean) + q * np.where(q < 0, below, above), np.ones(len(q)))


def _log_density(name: str, seen: Curve, unseen: Curve, fixed: Mapping[str, float]) -> Array:
    """The logarithm of the density that a member gives to unseen points (points,)."""
    off = np.array(_WIDTH_OF_DOUBT)
    density = np.zeros(len(unseen))
    try:
        member = _by_theory(seen, unseen, fixed) if name == THEORY else law_draws(name, seen, unseen.kept)
    except (InputError, ConvergenceError):
        return np.log(_DOUBT / off + density)
    sigma = np.maximum(_scatter(unseen), _LEAST_SCATTER)
    z = (np.log(unseen.error) - member.log_error) / sigma
    kernel = np.exp(-(z**2) / 2) / sigma / np.sqrt(2 * np.pi)
    density = member.weight @ kernel / member.weight.sum()
    return np.log(_DOUBT / off + (1 - _DOUBT) * density)


def _scatter(points: Curve) -> Array:
    """The relative standard deviation of the points (points,), as far as it is known."""
    return np.nan_to_num(points.se / points.error)


def _by_theory(seen: Curve, unseen: Curve, fixed: Mapping[str, float]) -> Foreseen:
    """What the theory expects of unseen points, to first order."""
    level = 0.95
    centre, low, high = fit(seen, fixed).first_order(unseen, level)
    return theory_draws(np.exp(centre), np.exp(low), np.exp(high), level)


# -- laws


@dataclass(frozen=True)
class _Law:
    """A law of the form (T9.13), fitted to the largest sizes alone if `share` is below 1."""

    alpha: int
    share: float

    def points(self, seen: Curve) -> Curve:
        """Those of the seen points that it is fitted to."""
        sizes = np.unique(seen.kept)
        used = max(_FEWEST_OF_LAW, int(np.ceil(self.share * len(sizes))))
        return seen.at(seen.kept >= sizes[-min(used, len(sizes))])

    def suits(self, seen: Curve) -> bool:
        """Whether there are enough points for it, and all lie below the error at which it saturates."""
        points = self.points(seen)
        return len(points) >= _FEWEST_OF_LAW and not (self.alpha and points.error.max() >= 0.98 * CHANCE)


_LAWS = {
    "power law with floor": _Law(0, 1.0),
    "power law with floor, larger sizes": _Law(0, 0.6),
    "saturating law": _Law(1, 1.0),
    "saturating law, larger sizes": _Law(1, 0.6),
}
LAW_NAMES = tuple(_LAWS)


def law_draws(name: str, seen: Curve, kept: Array) -> Foreseen:
    """What a law, fitted to the seen points, expects at sizes `kept` (sizes,).

    Raises InputError where the points cannot follow it, or are too few.
    """
    law = _LAWS[name]
    if not law.suits(seen):
        raise InputError(f"a {name} does not suit these points")
    points = law.points(seen)
    draws = []
    weights = []
    q = stdtrit(len(points) - 3, _LEVELS)[:, None]
    for share in _FLOORS:
        line = _Line.through(points, float(share * points.error.min()), law.alpha)
        centre, deviation = line.at(kept)
        draws.append(line.log_error(centre + q * deviation))
        weights.append(np.full(len(q), line.log_likelihood))
    weight = np.concatenate(weights)
    return Foreseen(np.concatenate(draws), np.exp(weight - weight.max()))


@dataclass(frozen=True)
class _Line:
    """(T9.13) for one floor c, fitted by weighted least squares in its own coordinate z, which is its left side."""

    floor: float
    alpha: int
    coefficients: Float[np.ndarray, " 2"]
    covariance: Float[np.ndarray, "2 2"]
    log_likelihood: float

    @classmethod
    def through(cls, points: Curve, floor: float, alpha: int) -> _Line:
        """The line for these points. Its scatter is at least what is known of theirs."""
        error = points.error
        z = np.log(error - floor)
        slope = error / (error - floor)  # ∂z/∂ln E
        if alpha:
            z = z - np.log(CHANCE - error)
            slope = slope + error / (CHANCE - error)
        known = _scatter(points)
        sigma = np.where(known > 0, known, 1.0)
        weight = 1 / (slope * sigma)
        design = np.column_stack([np.ones(len(z)), np.log(points.kept)])
        whitened = design * weight[:, None]
        coefficients = np.linalg.lstsq(whitened, z * weight)[0]
        off = (z - design @ coefficients) * weight
        freedom = len(z) - 3
        chi_square = float(off @ off)
        excess = chi_square / max(freedom, 1)
        if known.all():
            excess = max(1.0, excess)
            log_likelihood = -chi_square / 2
        else:
            log_likelihood = -len(z) / 2 * np.log(max(chi_square, 1e-12))
        return cls(floor, alpha, coefficients, excess * np.linalg.inv(whitened.T @ whitened), log_likelihood)

    def at(self, kept: Array) -> tuple[Array, Array]:
        """z and its standard deviation at sizes (sizes,)."""
        design = np.column_stack([np.ones(len(kept)), np.log(kept)])
        return design @ self.coefficients, np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))

    def log_error(self, z: Array) -> Array:
        """ln E where the left side of (T9.13) is z."""
        if self.alpha:
            odds = np.exp(np.clip(z, -300, 300))
            return np.log((self.floor + CHANCE * odds) / (1 + odds) + 1e-300)
        return np.minimum(np.logaddexp(z, np.log(self.floor + 1e-300)), 0.0)
