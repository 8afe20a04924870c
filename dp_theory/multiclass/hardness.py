"""How unsure a selector of K classes is of a row with scores s (K,), each s_k ~ N(0, 1).

Along a ray s = R·v from the origin the margin rises, and the entropy of softmax(κ s) falls. So a threshold on either
bounds the radius R, which makes expectations over selected rows smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import gammainc, ndtr

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array, require, require_number
from dp_theory.multiclass.sobol import normals
from dp_theory.quadrature import panels, pdf

FARTHEST = 60.0  # a radius that no row of a few dozen coordinates has
PRECISION = 1e-12  # of an entropy
_RAYS = 12  # log2 of their number, over which the fraction above an entropy is averaged


class Hardness(Protocol):
    """A number that falls along every ray of scores. Arrays of scores are (rows, K)."""

    def of(self, scores: Array) -> Array:
        """(rows,)."""
        ...

    def reach(self, direction: Array, threshold: float) -> Array:
        """The radii R (rows,) with of(R · direction) = threshold, at most FARTHEST."""
        ...

    def exceeded(self, threshold: float, classes: int) -> float:
        """P(of(s) > threshold)."""
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

    def exceeded(self, threshold: float, classes: int) -> float:
        """1 − K ∫ φ(u) Φ(u − τ)^(K − 1) du, that the largest score leads by less than τ = −threshold."""
        u, weights = panels(np.linspace(-10.0, 30.0, 81), 8)
        return float(1 - classes * (weights * pdf(u)) @ ndtr(u + threshold) ** (classes - 1))

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
        mean, square = ((p * power).sum(-1) / total for power in (logits, logits**2))
        return np.log(total) - mean, mean**2 - square

    def reach(self, direction: Array, threshold: float) -> Array:
        """By Newton's method on ln R, kept inside a bracket by bisection."""
        low, high = np.zeros(len(direction)), np.full(len(direction), FARTHEST)
        endless, excess = self.of(FARTHEST * direction) >= threshold, np.inf
        radius = np.clip(1 / (self.kappa * np.abs(direction).max(1)), 0.01, FARTHEST)
        for _ in range(100):
            entropy, slope = self._with_slope(radius[:, None] * direction)
            excess = entropy - threshold
            found = endless | (np.abs(excess) <= PRECISION)
            if found.all():
                return np.where(endless, FARTHEST, radius)
            low, high = np.where(excess > 0, radius, low), np.where(excess > 0, high, radius)
            with np.errstate(all="ignore"):
                aimed = radius * np.exp(-excess / slope)
            aimed = np.where((aimed > low) & (aimed < high), aimed, (low + high) / 2)
            radius = np.where(found, radius, aimed)
        raise ConvergenceError(f"entropy = {threshold:g} is missed along rays by up to {np.abs(excess).max():.1e}")

    def exceeded(self, threshold: float, classes: int) -> float:
        """The mean of P(R < reach) over directions, R chi-distributed with K − 1 degrees."""
        s = normals(classes, _RAYS, 0)
        s -= s.mean(1, keepdims=True)
        s /= np.linalg.norm(s, axis=1, keepdims=True)
        return float(gammainc((classes - 1) / 2, self.reach(s, threshold) ** 2 / 2).mean())

    def range(self, classes: int) -> tuple[float, float]:
        """0 and ln K, up to rounding."""
        return 10 * PRECISION, np.log(classes) - 10 * PRECISION


def threshold(hardness: Hardness, keep: float, classes: int) -> float:
    """What a fraction `keep` of the rows exceeds. Raises InputError where that is too near to 0 or to 1."""
    from scipy.optimize import brentq

    low, high = hardness.range(classes)
    possible = hardness.exceeded(high, classes) < keep < hardness.exceeded(low, classes)
    require("keep", keep, possible, f"be further from 0 and 1 for a threshold on {hardness}")
    level = brentq(lambda level: hardness.exceeded(level, classes) - keep, low, high, xtol=1e-12)
    return float(level)  # pyright: ignore[reportArgumentType]
