"""How unsure a selector of K classes is of a row with scores s (K,), each s_k ~ N(0, 1).

Along a ray s = R·v from the origin the margin rises, and the entropy of softmax(κ s) falls. So a threshold on either
bounds the radius R, which makes expectations over selected rows smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from scipy.special import gammainc, ndtr

from dp_base.errors import ConvergenceError
from dp_theory.multiclass.sobol import SETS, sets_of_normals
from dp_theory.numerics.checks import Array, require, require_number
from dp_theory.numerics.quadrature import panels, pdf

FARTHEST = 60.0  # a radius that no row of a few dozen coordinates has
PRECISION = 1e-12  # of an entropy
_RAYS, _FEW = (10, 12), 6  # log2 of those in each set over which a fraction is averaged: for few classes, and for more


class Hardness(Protocol):
    """A number that falls along every ray of scores. Arrays of scores are (rows, K)."""

    def of(self, scores: Array) -> Array:
        """(rows,)."""
        ...

    def reach(self, direction: Array, threshold: float) -> Array:
        """The radii R (rows,) with of(R · direction) = threshold, at most FARTHEST."""
        ...

    def exceeded(self, threshold: float, classes: int, sets: int = SETS) -> Array:
        """P(of(s) > threshold): as many independent estimates (sets,), or (1,) if it is known."""
        ...

    def range(self, classes: int) -> tuple[float, float]:
        """Thresholds that practically every row exceeds, and none."""
        ...


@dataclass(frozen=True)
class Margin:
    """Less the difference of the two largest scores; with two classes −√2 |t|, t the projection on the selector."""

    def of(self, scores: Array) -> Array:
        """(rows, K) -> (rows,)."""
        largest = np.partition(scores, -2, axis=-1)[..., -2:]
        return largest[..., 0] - largest[..., 1]

    def reach(self, direction: Array, threshold: float) -> Array:
        """threshold / of(direction): the margin is homogeneous."""
        return np.minimum(threshold / self.of(direction), FARTHEST)

    def exceeded(self, threshold: float, classes: int, sets: int = SETS) -> Array:
        """1 − K ∫ φ(u) Φ(u − τ)^(K − 1) du, that the largest score leads by less than τ = −threshold."""
        u, weights = panels(np.linspace(-10.0, 30.0, 81), 8)
        return np.array([1 - classes * (weights * pdf(u)) @ ndtr(u + threshold) ** (classes - 1)])

    def range(self, classes: int) -> tuple[float, float]:
        """A margin of 25, and none."""
        return -25.0, 0.0


@dataclass(frozen=True)
class Uncertainty:
    """The entropy in nats of softmax(kappa · s)."""

    kappa: float = 1.0

    def __post_init__(self) -> None:
        require_number(kappa=self.kappa)
        require("kappa", self.kappa, 0 < self.kappa < np.inf, "be positive: it is the slope of logits in scores")

    def of(self, scores: Array) -> Array:
        """(rows, K) -> (rows,)."""
        return self._with_slope(scores)[0]

    def _with_slope(self, scores: Array) -> tuple[Array, Array]:
        """The entropy H (rows,), and its derivative in ln R: less the variance of the logits under softmax."""
        logits = self.kappa * (scores - scores.max(-1, keepdims=True))
        p = np.exp(logits)
        total = p.sum(-1)
        weighted = p * logits
        mean, square = weighted.sum(-1) / total, np.einsum("...k,...k->...", weighted, logits) / total
        return np.log(total) - mean, mean**2 - square

    def reach(self, direction: Array, threshold: float) -> Array:
        """By Newton's method on ln R, kept inside a bracket, which is halved where the last step gained too little."""
        radius = np.full(len(direction), FARTHEST)
        left = np.flatnonzero(self.of(FARTHEST * direction) < threshold)
        at = np.clip(1 / (self.kappa * np.abs(direction[left]).max(1)), 0.01, FARTHEST)
        low, high, missed = np.zeros(len(left)), np.full(len(left), FARTHEST), np.full(len(left), np.inf)
        for _ in range(100):
            entropy, slope = self._with_slope(at[:, None] * direction[left])
            before, excess = missed, entropy - threshold
            radius[left], missed = at, np.abs(excess)
            if not (more := missed > PRECISION).any():
                return radius
            low, high = np.where(excess > 0, at, low), np.where(excess > 0, high, at)
            with np.errstate(all="ignore"):
                aimed = at * np.exp(-excess / slope)
            good = (aimed > low) & (aimed < high) & (missed < before / 2)
            at = np.where(good, aimed, (low + high) / 2)
            left, at, low, high, missed = (x[more] for x in (left, at, low, high, missed))
        raise ConvergenceError(f"entropy = {threshold:g} is missed along rays by up to {missed.max():.1e}")

    def exceeded(self, threshold: float, classes: int, sets: int = SETS) -> Array:
        """The mean of P(R < reach) over directions, R chi-distributed with K − 1 degrees: of each set by itself."""
        return _exceeded(self, threshold, classes, sets)

    def range(self, classes: int) -> tuple[float, float]:
        """0 and ln K, up to rounding."""
        return 10 * PRECISION, np.log(classes) - 10 * PRECISION


@lru_cache(8)  # nodes of all numbers, and all ridges and sizes, ask again
def _exceeded(hardness: Uncertainty, threshold: float, classes: int, sets: int) -> Array:
    found = []
    for scores in sets_of_normals(classes, _RAYS[classes > _FEW], sets):
        s = scores - scores.mean(1, keepdims=True)
        s /= np.linalg.norm(s, axis=1, keepdims=True)
        found.append(gammainc((classes - 1) / 2, hardness.reach(s, threshold) ** 2 / 2).mean())
    return np.array(found)


def threshold(hardness: Hardness, keep: float, classes: int) -> float:
    """What a fraction `keep` of the rows exceeds. Raises InputError where that is too near to 0 or to 1."""
    from scipy.optimize import brentq

    def excess(level: float, sets: int = SETS) -> float:
        return float(hardness.exceeded(level, classes, sets).mean()) - keep

    low, high = hardness.range(classes)
    possible = excess(high, 1) < 0 < excess(low, 1)
    require("keep", keep, possible, f"be further from 0 and 1 for a threshold on {hardness}")
    near = float(brentq(excess, low, high, args=(1,)))  # pyright: ignore[reportArgumentType]
    inner = near + (low - near) / 10, near + (high - near) / 10
    if excess(inner[0]) > 0 > excess(inner[1]):
        low, high = inner
    return float(brentq(excess, low, high, xtol=1e-12))  # pyright: ignore[reportArgumentType]
