"""Convex losses that a `SpanProblem` may have: SQUARE, LOGISTIC, and what it takes to write another."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array


class Loss(Protocol):
    """A convex loss ℓ(h; y) of the score h for the label y = ±1. Methods are elementwise and broadcast."""

    def value(self, h: Array, y: Array) -> Array:
        """ℓ(h; y)."""
        ...

    def slope(self, h: Array, y: Array) -> Array:
        """Its derivative ℓ' in h."""
        ...

    def curvature(self, h: Array, y: Array) -> Array:
        """Its second derivative ℓ'' ≥ 0 in h."""
        ...

    def prox(self, score: Array, y: Array, strength: Array) -> Array:
        """The root h of h + strength · ℓ'(h; y) = score, for strength ≥ 0."""
        ...


@dataclass(frozen=True)
class Square(Loss):
    """(y − h)²/2, the paper's loss."""

    def value(self, h: Array, y: Array) -> Array:
        """(y − h)²/2."""
        return (y - h) ** 2 / 2

    def slope(self, h: Array, y: Array) -> Array:
        """h − y."""
        return h - y

    def curvature(self, h: Array, y: Array) -> Array:
        """1."""
        return np.ones_like(h)

    def prox(self, score: Array, y: Array, strength: Array) -> Array:
        """(score + strength y)/(1 + strength)."""
        return (score + strength * y) / (1 + strength)


@dataclass(frozen=True)
class Logistic(Loss):
    """ln(1 + exp(−yh))."""

    def value(self, h: Array, y: Array) -> Array:
        """ln(1 + exp(−yh))."""
        return np.logaddexp(0, -y * h)

    def slope(self, h: Array, y: Array) -> Array:
        """−y σ(−yh), σ the logistic function."""
        return -y * expit(-y * h)

    def curvature(self, h: Array, y: Array) -> Array:
        """σ(h) σ(−h)."""
        return expit(h) * expit(-h)

    def prox(self, score: Array, y: Array, strength: Array) -> Array:
        """y times the root u of u − strength·σ(−u) = w, with u = yh and w = y·score.

        The root lies in [w, w + strength]. The left side rises, and bends up below u = 0 and down above, so that
        Newton's method from the bracket's point nearest to 0 moves one way only: it cannot overshoot or cycle. Raises
        ConvergenceError where it does not get there.
        """
        w = y * score
        u = np.clip(0.0, w, w + strength)
        for _ in range(100):  # scipy.optimize.elementwise.find_root takes 15 to 26 times as long
            tail = expit(-u)
            step = (u - strength * tail - w) / (1 + strength * tail * (1 - tail))
            u = u - step
            if np.all(np.abs(step) <= 1e-14 * (1 + np.abs(w) + strength)):
                return y * u
        missed = np.abs(u - strength * expit(-u) - w).max()
        raise ConvergenceError(f"logistic prox at strength up to {np.max(strength):g} is missed by {missed:.1e}")


SQUARE, LOGISTIC = Square(), Logistic()
