"""Which rows a selector of K classes keeps, by their scores s (K,), where each s_k ~ N(0, 1)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv, ndtri
from scipy.stats import qmc

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import (
    Array,
    Float,
    require,
    require_number,
    require_one_of,
    require_size,
    require_whole,
)
from dp_theory.rules import kept_fraction

# Sets of points, each scrambled by itself: their scatter says how well means over all are known.
SETS = 32
# Bits of each coordinate.
_BITS = 30


def uniforms(dimensions: int, log2: int, seed: int, *key: int) -> Float[Array, "rows {dimensions}"]:
    """2^log2 points within the unit cube; a larger number begins with the same."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    points = qmc.Sobol(dimensions, bits=_BITS, rng=rng).random_base2(log2)
    return points + 0.5 ** (_BITS + 1)  # off the corner, where quantiles are infinite


# A radius that no row of a few dozen coordinates has.
FARTHEST = 60.0
# The largest error of an entropy.
PRECISION = 1e-12
# At most, along all rays.
_NEWTON_STEPS = 100
# The number of classes up to which fewer rays suffice.
_FEW_CLASSES = 6
# Log2 of the rays in each set over which a fraction is averaged.
_RAYS_FOR_FEW = 10
# The same for more than _FEW_CLASSES.
_RAYS_FOR_MORE = 12


def entropies(scores: Float[Array, "rows K"]) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """The entropy of softmax(s) of each row, in nats, and its slope by the logarithm of the row's length."""
    by_class = np.ascontiguousarray(np.moveaxis(scores, -1, 0))  # sums over classes are then fast sums of long rows
    logits = by_class - by_class.max(0)
    p = np.exp(logits)
    total = p.sum(0)
    weighted = p * logits
    mean = weighted.sum(0) / total
    mean_square = (weighted * logits).sum(0) / total
    return np.log(total) - mean, mean**2 - mean_square


def reach(direction: Float[Array, "rows K"], threshold: float) -> Float[Array, " rows"]:
    """The radius, at most FARTHEST, at which the entropy along each direction is the threshold."""
    reached = np.full(len(direction), FARTHEST)
    rows = np.flatnonzero(entropies(FARTHEST * direction)[0] < threshold)  # those whose radius is still looked for
    radius = np.clip(1 / np.abs(direction[rows]).max(1), 0.01, FARTHEST)
    low, high, missed = (np.full(len(rows), value) for value in (0.0, FARTHEST, np.inf))
    for _ in range(_NEWTON_STEPS):
        entropy, slope = entropies(radius[:, None] * direction[rows])
        excess = entropy - threshold
        missed_before, missed = missed, np.abs(excess)
        reached[rows] = radius
        unfinished = missed > PRECISION
        if not unfinished.any():
            return reached
        low, high = np.where(excess > 0, [radius, high], [low, radius])
        with np.errstate(all="ignore"):  # a slope of 0 leads out of the bracket, and is not used
            aimed = radius * np.exp(-excess / slope)
        good = (aimed > low) & (aimed < high) & (missed < missed_before / 2)
        radius = np.where(good, aimed, (low + high) / 2)
        rows, radius, low, high, missed = (part[unfinished] for part in (rows, radius, low, high, missed))
    raise ConvergenceError(f"entropy = {threshold:g} is missed along rays by up to {missed.max():.1e}")


@lru_cache(8)
def exceeded(threshold: float, classes: int, sets: int = SETS) -> Float[Array, " {sets}"]:
    """The share of rows whose entropy is above the threshold, from each set of quasi-random points."""
    log2 = _RAYS_FOR_FEW if classes <= _FEW_CLASSES else _RAYS_FOR_MORE
    fractions = np.empty(sets)
    for number in range(sets):  # these differ from the points of every seed with a key of one number
        scores = ndtri(uniforms(classes, log2, 0, 1, number))
        direction = scores - scores.mean(1, keepdims=True)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        fractions[number] = gammainc((classes - 1) / 2, reach(direction, threshold) ** 2 / 2).mean()
    fractions.flags.writeable = False
    return fractions


def threshold(keep: float, classes: int) -> float:
    """A fraction `keep` of the rows exceeds it."""

    def excess(level: float, sets: int = SETS) -> float:
        return float(exceeded(level, classes, sets).mean()) - keep

    low, high = 10 * PRECISION, np.log(classes) - 10 * PRECISION  # which practically all rows exceed, and none
    possible = excess(high, 1) < 0 < excess(low, 1)
    require("keep", keep, possible, "be further from 0 and 1 for a threshold on the entropy")
    rough = float(brentq(excess, low, high, args=(1,)))  # pyrefly: ignore[bad-argument-type]
    below, above = (rough + (end - rough) / 10 for end in (low, high))
    if excess(below) > 0 > excess(above):
        low, high = below, above
    return float(brentq(excess, low, high, xtol=1e-12))  # pyrefly: ignore[bad-argument-type]


RULES = ("keep-all", "random", "keep-hard", "keep-easy")
MAX_CLASSES = 100


class Selection:
    """Keeps a row with a probability of its scores, whatever the order of the classes."""

    sees_scores = True
    classes: int | None = None  # for which it keeps what it should; None: for any number

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        raise NotImplementedError

    def keep_fraction(self, classes: int) -> Float[Array, " estimates"]:
        """From each set of quasi-random points, or a single number where it is known."""
        raise NotImplementedError

    def along_rays(
        self, scores: Float[Array, "rows K"], radius: Float[Array, " rows"], freedom: int
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """The probability of each row, and the factor that moves its radius to where rows are kept."""
        return self.keep_probability(scores), np.ones(len(scores))


@dataclass(frozen=True)
class Share(Selection):
    """Keeps a random fraction of the rows."""

    keep: float = 1.0  # the fraction, in (0, 1]
    sees_scores = False

    def __post_init__(self) -> None:
        require_number(keep=self.keep)
        kept_fraction(self.keep)

    def keep_probability(self, scores: Array) -> Array:
        return np.full(len(scores), self.keep)

    def keep_fraction(self, classes: int) -> Array:
        return np.array([self.keep])


@dataclass(frozen=True)
class Threshold(Selection):
    """Keeps the rows on one side of a threshold on their entropy."""

    limit: float
    hard: bool  # whether the rows above the limit are kept, or the others
    classes: int

    def keep_probability(self, scores: Array) -> Array:
        return ((entropies(scores)[0] > self.limit) == self.hard).astype(float)

    def keep_fraction(self, classes: int) -> Array:
        above = exceeded(self.limit, classes)
        return above if self.hard else 1 - above

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        edge = reach(scores / radius[:, None], self.limit) ** 2 / 2
        cdf, quantile = (gammainc, gammaincinv) if self.hard else (gammaincc, gammainccinv)
        mass = cdf(freedom / 2, edge)
        moved = np.sqrt(2 * quantile(freedom / 2, mass * cdf(freedom / 2, radius**2 / 2)))
        return mass, np.minimum(moved, FARTHEST) / radius


def make_selection(rule: str, classes: int, keep: float | None = None) -> Selection:
    """The selection that a name and a kept fraction stand for.

    Parameters
    ----------
    rule
        One of RULES.
    classes
        The number of classes K, from 2 to MAX_CLASSES.
    keep
        The fraction of the rows that is kept, in (0, 1], which all rules but keep-all take.

    Raises
    ------
    InputError
        For another rule, for another number of classes than 2 to MAX_CLASSES, and for what the rule does not take.
    """
    require_classes(classes)
    require_one_of("rule", rule, RULES)
    if (keep is None) != (rule == "keep-all"):
        raise InputError(f"rule {rule} takes {'no' if keep is not None else 'a'} keep")
    share = Share(1.0 if keep is None else keep)
    if keep is None or keep == 1 or rule == "random":
        return share
    hard = rule == "keep-hard"
    return Threshold(threshold(keep if hard else 1 - keep, classes), hard, classes)


def require_classes(classes: Any) -> None:
    """From 2 to MAX_CLASSES."""
    require_whole(classes=classes)
    require_size("classes", classes, 2, MAX_CLASSES, "it is the number of classes")
