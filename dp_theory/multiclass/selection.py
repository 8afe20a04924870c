"""Which rows a selector of K classes keeps, by their scores s (K,), where each s_k ~ N(0, 1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv, ndtri
from scipy.stats import qmc

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array, Float, require, require_number, require_size, require_whole
from dp_theory.rules import kept_fraction, read_rule, value_of

# Sets of points, each scrambled by itself: their scatter says how well means over all are known.
SETS = 32
# Bits of each coordinate.
_BITS = 30


def uniforms(dimensions: int, log2: int, seed: int, *key: int) -> Float[Array, "rows {dimensions}"]:
    """2^log2 points within the unit cube; a larger number begins with the same."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    points = qmc.Sobol(dimensions, bits=_BITS, rng=rng).random_base2(log2)
    return points + 0.5 ** (_BITS + 1)  # off the corner, where quantiles are infinite


def sets_of_normals(dimensions: int, log2: int, sets: int = SETS) -> Iterator[Float[Array, "rows dims"]]:
    """Independent sets, which differ from those of every seed with a key of one number."""
    return (ndtri(uniforms(dimensions, log2, 0, 1, number)) for number in range(sets))


# A radius that no row of a few dozen coordinates has.
FARTHEST = 60.0
# The largest error of an entropy.
PRECISION = 1e-12
# The least slope of logits: entropies differ by its square, and thresholds on them must tell rows apart.
MIN_KAPPA = 1e-3
# At most, along all rays.
_NEWTON_STEPS = 100
# The number of classes up to which fewer rays suffice.
_FEW_CLASSES = 6
# Log2 of the rays in each set over which a fraction is averaged.
_RAYS_FOR_FEW = 10
# The same for more than _FEW_CLASSES.
_RAYS_FOR_MORE = 12


@dataclass(frozen=True)
class Uncertainty:
    """The entropy of softmax(kappa · s), in nats.

    `reach` is the radius R where of(R · direction) = threshold, at most FARTHEST. `exceeded` is P(of(s) > threshold)
    from each set of quasi-random points.
    """

    kappa: float = 1.0  # the slope of the logits in the scores, finite and at least MIN_KAPPA

    def __post_init__(self) -> None:
        require_number(kappa=self.kappa)
        fits = MIN_KAPPA <= self.kappa < np.inf
        require("kappa", self.kappa, fits, f"be at least {MIN_KAPPA:g}: it is the slope of logits in scores")

    def values(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        return self._with_slope(scores)[0]

    def _with_slope(self, scores: Array) -> tuple[Array, Array]:
        by_class = np.ascontiguousarray(np.moveaxis(scores, -1, 0))  # sums over classes are then fast sums of long rows
        logits = self.kappa * (by_class - by_class.max(0))
        p = np.exp(logits)
        total = p.sum(0)
        weighted = p * logits
        mean = weighted.sum(0) / total
        mean_square = (weighted * logits).sum(0) / total
        return np.log(total) - mean, mean**2 - mean_square

    def reach(self, direction: Float[Array, "rows K"], threshold: float) -> Float[Array, " rows"]:
        reached = np.full(len(direction), FARTHEST)
        rows = np.flatnonzero(self.values(FARTHEST * direction) < threshold)  # those whose radius is still looked for
        radius = np.clip(1 / (self.kappa * np.abs(direction[rows]).max(1)), 0.01, FARTHEST)
        low, high, missed = (np.full(len(rows), value) for value in (0.0, FARTHEST, np.inf))
        for _ in range(_NEWTON_STEPS):
            entropy, slope = self._with_slope(radius[:, None] * direction[rows])
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

    @lru_cache(8)  # noqa: B019 (hardnesses are few, and equal ones are one)
    def exceeded(self, threshold: float, classes: int, sets: int = SETS) -> Float[Array, " {sets}"]:
        log2 = _RAYS_FOR_FEW if classes <= _FEW_CLASSES else _RAYS_FOR_MORE
        fractions = np.empty(sets)
        for number, scores in enumerate(sets_of_normals(classes, log2, sets)):
            direction = scores - scores.mean(1, keepdims=True)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            fractions[number] = gammainc((classes - 1) / 2, self.reach(direction, threshold) ** 2 / 2).mean()
        fractions.flags.writeable = False
        return fractions


def threshold(hardness: Uncertainty, keep: float, classes: int) -> float:
    """A fraction `keep` of the rows exceeds it."""

    def excess(level: float, sets: int = SETS) -> float:
        return float(hardness.exceeded(level, classes, sets).mean()) - keep

    low, high = 10 * PRECISION, np.log(classes) - 10 * PRECISION  # which practically all rows exceed, and none
    possible = excess(high, 1) < 0 < excess(low, 1)
    require("keep", keep, possible, f"be further from 0 and 1 for a threshold on {hardness}")
    rough = float(brentq(excess, low, high, args=(1,)))  # pyrefly: ignore[bad-argument-type]
    below, above = (rough + (end - rough) / 10 for end in (low, high))
    if excess(below) > 0 > excess(above):
        low, high = below, above
    return float(brentq(excess, low, high, xtol=1e-12))  # pyrefly: ignore[bad-argument-type]


# What each rule takes.
TAKES = {
    "keep-all": (),
    "random": ("keep",),
    "keep-hard": ("keep", "kappa"),
    "keep-easy": ("keep", "kappa"),
}
MAX_CLASSES = 100
# Log2 of the rows in each set, over which a kept fraction is averaged.
_ROWS = 12


class Selection:
    """Keeps a row with a probability of its scores, whatever the order of the classes."""

    sees_scores = True
    classes: int | None = None  # for which it keeps what it should; None: for any number

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        raise NotImplementedError

    def keep_fraction(self, classes: int) -> Float[Array, " estimates"]:
        """From each set of quasi-random points, or a single number where it is known."""
        return np.array([self.keep_probability(scores).mean() for scores in sets_of_normals(classes, _ROWS)])

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
    """Keeps the rows on one side of a threshold."""

    limit: float  # the threshold on the hardness
    hardness: Uncertainty  # the measure of hardness
    hard: bool = True  # whether the rows above the limit are kept, or the others
    classes: int | None = None

    def __post_init__(self) -> None:
        require_number(limit=self.limit)

    def keep_probability(self, scores: Array) -> Array:
        return ((self.hardness.values(scores) > self.limit) == self.hard).astype(float)

    def keep_fraction(self, classes: int) -> Array:
        exceeded = self.hardness.exceeded(self.limit, classes)
        return exceeded if self.hard else 1 - exceeded

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        edge = self.hardness.reach(scores / radius[:, None], self.limit) ** 2 / 2
        cdf, quantile = (gammainc, gammaincinv) if self.hard else (gammaincc, gammainccinv)
        mass = cdf(freedom / 2, edge)
        moved = np.sqrt(2 * quantile(freedom / 2, mass * cdf(freedom / 2, radius**2 / 2)))
        return mass, np.minimum(moved, FARTHEST) / radius


def make_selection(rule: str, classes: int, **values: Any) -> Selection:
    """The selection that a name and its parameters stand for.

    Parameters
    ----------
    rule
        A name of TAKES, or RULE@FIELD=VALUE@…, such as "keep-hard@kappa=2".
    values
        What the rule takes besides; those that are None do not count.

        - keep: the fraction of the rows that is kept.
        - kappa: the slope of the logits in the scores, by default 1.

    Raises
    ------
    InputError
        For another rule, for another number of classes than 2 to MAX_CLASSES, and for what the rule does not take.
    """
    require_classes(classes)
    name, given = read_rule(rule, _takes, **values)
    numbers = {key: value_of(rule, key, value) for key, value in given.items()}
    if name == "keep-all":
        return Share()
    if "keep" not in numbers:
        raise InputError(f"rule {name} takes a keep")
    keep, hardness = numbers["keep"], Uncertainty(numbers.get("kappa", 1.0))
    share = Share(keep)
    if keep == 1 or name == "random":
        return share
    hard = name == "keep-hard"
    return Threshold(threshold(hardness, keep if hard else 1 - keep, classes), hardness, hard, classes)


def _takes(name: str) -> tuple[str, ...]:
    if name not in TAKES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(TAKES)}")
    return TAKES[name]


def require_classes(classes: Any) -> None:
    """From 2 to MAX_CLASSES."""
    require_whole(classes=classes)
    require_size("classes", classes, 2, MAX_CLASSES, "it is the number of classes")
