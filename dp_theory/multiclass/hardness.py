"""How unsure a selector of K classes is of a row. Hardness falls along a ray of scores, so a threshold bounds its
radius."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammainc, ndtri
from scipy.stats import qmc

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array, require, require_number

if TYPE_CHECKING:
    from jaxtyping import Float

SETS = 32  # of points, each scrambled by itself: their scatter says how well means over all are known
_BITS = 30  # of each coordinate


def uniforms(dimensions: int, log2: int, seed: int, *key: int) -> Float[Array, "rows {dimensions}"]:
    """2^log2 points within the unit cube; a larger number begins with the same."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    points = qmc.Sobol(dimensions, bits=_BITS, rng=rng).random_base2(log2)
    return points + 0.5 ** (_BITS + 1)  # off the corner, where quantiles are infinite


def sets_of_normals(dimensions: int, log2: int, sets: int = SETS) -> Iterator[Float[Array, "rows dims"]]:
    """Independent sets, which differ from those of every seed with a key of one number."""
    return (ndtri(uniforms(dimensions, log2, 0, 1, number)) for number in range(sets))


FARTHEST = 60.0  # a radius that no row of a few dozen coordinates has
PRECISION = 1e-12  # of an entropy
_NEWTON_STEPS = 100  # at most, along all rays
_FEW_CLASSES = 6  # up to so many classes, fewer rays suffice
_RAYS_FOR_FEW = 10  # log2 of the rays in each set over which a fraction is averaged
_RAYS_FOR_MORE = 12  # the same for more than _FEW_CLASSES


@dataclass(frozen=True)
class Uncertainty:
    """The entropy of softmax(kappa · s), in nats.

    `reach` is the radius R where of(R · direction) = threshold, at most FARTHEST. `exceeded` is P(of(s) > threshold)
    from each set of quasi-random points. `range` has thresholds that practically every row exceeds, and practically
    none.
    """

    kappa: float = 1.0  # the slope of the logits in the scores, positive and finite

    def __post_init__(self) -> None:
        require_number(kappa=self.kappa)
        require("kappa", self.kappa, 0 < self.kappa < np.inf, "be positive: it is the slope of logits in scores")

    def of(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        return self._with_slope(scores)[0]

    def _with_slope(self, scores: Float[Array, "rows K"]) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        by_class = np.ascontiguousarray(np.moveaxis(scores, -1, 0))  # sums over classes are then fast sums of long rows
        logits = self.kappa * (by_class - by_class.max(0))
        p = np.exp(logits)
        total = p.sum(0)
        weighted = p * logits
        mean = weighted.sum(0) / total
        mean_square = (weighted * logits).sum(0) / total
        return np.log(total) - mean, mean**2 - mean_square

    def reach(self, direction: Float[Array, "rows K"], threshold: float) -> Float[Array, " rows"]:
        found = np.full(len(direction), FARTHEST)
        rows = np.flatnonzero(self.of(FARTHEST * direction) < threshold)  # those whose radius is still looked for
        radius = np.clip(1 / (self.kappa * np.abs(direction[rows]).max(1)), 0.01, FARTHEST)
        low = np.zeros(len(rows))
        high = np.full(len(rows), FARTHEST)
        missed = np.full(len(rows), np.inf)
        for _ in range(_NEWTON_STEPS):
            entropy, slope = self._with_slope(radius[:, None] * direction[rows])
            excess = entropy - threshold
            missed_before = missed
            missed = np.abs(excess)
            found[rows] = radius
            unfinished = missed > PRECISION
            if not unfinished.any():
                return found
            low = np.where(excess > 0, radius, low)
            high = np.where(excess > 0, high, radius)
            with np.errstate(all="ignore"):  # a slope of 0 leads out of the bracket, and is not used
                aimed = radius * np.exp(-excess / slope)
            good = (aimed > low) & (aimed < high) & (missed < missed_before / 2)
            radius = np.where(good, aimed, (low + high) / 2)[unfinished]
            rows = rows[unfinished]
            low = low[unfinished]
            high = high[unfinished]
            missed = missed[unfinished]
        raise ConvergenceError(f"entropy = {threshold:g} is missed along rays by up to {missed.max():.1e}")

    def exceeded(self, threshold: float, classes: int, sets: int = SETS) -> Float[Array, " {sets}"]:
        return _exceeded(self, threshold, classes, sets)

    def range(self, classes: int) -> tuple[float, float]:
        return 10 * PRECISION, np.log(classes) - 10 * PRECISION


@lru_cache(8)
def _exceeded(hardness: Uncertainty, threshold: float, classes: int, sets: int) -> Float[Array, " {sets}"]:
    log2 = _RAYS_FOR_FEW if classes <= _FEW_CLASSES else _RAYS_FOR_MORE
    fractions = []
    for scores in sets_of_normals(classes, log2, sets):
        direction = scores - scores.mean(1, keepdims=True)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        half_square = hardness.reach(direction, threshold) ** 2 / 2
        fractions.append(gammainc((classes - 1) / 2, half_square).mean())
    found = np.array(fractions)
    found.flags.writeable = False
    return found


def threshold(hardness: Uncertainty, keep: float, classes: int) -> float:
    """A fraction `keep` of the rows exceeds it."""
    from scipy.optimize import brentq

    def excess(level: float, sets: int = SETS) -> float:
        return float(hardness.exceeded(level, classes, sets).mean()) - keep

    low, high = hardness.range(classes)
    possible = excess(high, 1) < 0 < excess(low, 1)
    require("keep", keep, possible, f"be further from 0 and 1 for a threshold on {hardness}")
    rough = float(brentq(excess, low, high, args=(1,)))  # pyrefly: ignore[bad-argument-type]
    below = rough + (low - rough) / 10
    above = rough + (high - rough) / 10
    if excess(below) > 0 > excess(above):
        low = below
        high = above
    return float(brentq(excess, low, high, xtol=1e-12))  # pyrefly: ignore[bad-argument-type]
