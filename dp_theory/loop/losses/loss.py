"""The named losses, and how to write another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Real, require_kind

# A step of Newton's method after which the logistic prox is exact: its error is at most half the square of the step.
_LAST_STEP = 1e-8
# The most steps of Newton's method.
_STEPS = 100

OfRows = Callable[..., Real]


class Loss:
    """A convex loss ℓ(h; y) of the score h of a row and its label y = ±1, twice differentiable in h.

    All methods are elementwise.
    """

    value: OfRows  # ℓ(h, y),
    slope: OfRows  # ℓ',
    curvature: OfRows  # ℓ'',
    prox: OfRows  # and of (score, y, strength) the root h of h + strength·ℓ'(h; y) = score, for strength ≥ 0

    def answer(self, score: Real, y: Real, weight: Real, response: float, start: Real = None) -> tuple[Real, Real]:
        """A row's force f = −weight·ℓ'(h; y) at h = score + response·f, and its bend −∂f/∂score.

        `start` is a force from which a search may begin.
        """
        h = self.prox(score, y, response * weight)
        bend = weight * self.curvature(h, y)
        return -weight * self.slope(h, y), bend / (1 + response * bend)

    def bends(self, response: float) -> list[tuple[float, float]]:
        """Scores around which forces bend, each with a width, for quadrature."""
        return []


@dataclass(frozen=True)
class Square(Loss):
    """(y − h)²/2, the paper's loss, for which dp_theory.loop.square needs no more than its name."""


@dataclass(frozen=True)
class Logistic(Loss):
    """ln(1 + exp(−yh))."""

    def value(self, h: Real, y: Real) -> Real:
        return np.logaddexp(0, -y * h)

    def slope(self, h: Real, y: Real) -> Real:
        return -y * expit(-y * h)

    def curvature(self, h: Real, y: Real) -> Real:
        return expit(h) * expit(-h)

    def answer(self, score: Real, y: Real, weight: Real, response: float, start: Real = None) -> tuple[Real, Real]:
        strength = response * weight
        tail = expit(-self._margin(y * score, strength, None if start is None else y * (score + response * start)))
        bend = weight * tail * (1 - tail)
        return weight * y * tail, bend / (1 + response * bend)

    def prox(self, score: Real, y: Real, strength: Real) -> Real:
        return y * self._margin(y * score, strength)

    def _margin(self, w: Real, strength: Real, start: Real = None) -> Real:
        """The root u of u − strength·σ(−u) = w, by Newton's method.

        From the point of [w, w + strength] nearest to 0 it can neither overshoot nor cycle.
        """
        safe, enough = np.clip(0.0, w, w + strength), _LAST_STEP * (1 + np.abs(w))
        for u in [safe] if start is None else [start, safe]:
            for _ in range(_STEPS):  # scipy.optimize.elementwise.find_root takes 15 to 26 times as long
                tail = expit(-u)
                pull = strength * tail
                step = (u - pull - w) / (1 + pull * (1 - tail))
                u = u - step
                if (np.abs(step) <= enough).all():
                    return u
        missed = np.abs(u - strength * expit(-u) - w).max()
        raise ConvergenceError(f"logistic prox at strength up to {np.max(strength):g} is missed by {missed:.1e}")

    def bends(self, response: float) -> list[tuple[float, float]]:
        return [(side * float(np.log1p(response)), 1.0) for side in (-1, 1)]


SQUARE = Square()
LOGISTIC = Logistic()
LOSSES: dict[str, Loss] = {"square": SQUARE, "logistic": LOGISTIC}


def require_loss(loss: Any) -> None:
    """What is no loss is refused."""
    require_kind("loss", loss, Loss, "a Loss, such as SQUARE or LOGISTIC (dp_theory.loop.losses)")
