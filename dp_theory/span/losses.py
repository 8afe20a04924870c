"""Convex losses of a `SpanProblem` or `PracticeProblem`: SQUARE, LOGISTIC, SQUARED_HINGE, and how to write another."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy.special import expit

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array


class Loss(Protocol):
    """A convex loss ℓ(h; y) of the score h for the label y = ±1. Methods are elementwise and broadcast.

    margin: whether, as λ → 0, ŵ turns to the max-margin solution where the rows are separable: so it does for losses
    that fall to 0 beyond the margin, or exponentially (Rosset, Zhu and Hastie 2003). smooth: whether
    forces, as functions of the score, have a derivative everywhere.
    """

    margin: ClassVar[bool] = False
    smooth: ClassVar[bool] = True

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

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        """The force f = −weight·ℓ'(h; y) of a row on the learner and −∂f/∂score; score is that without the row.

        h = prox(score, y, response·weight) = score + response·f is the fitted one.
        """
        h = self.prox(score, y, response * weight)
        bend = weight * self.curvature(h, y)
        return -weight * self.slope(h, y), bend / (1 + response * bend)

    def bends(self, response: float) -> list[tuple[float, float]]:
        """Scores around which forces bend, each with the width within which they do, for whoever integrates them."""
        return []


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

    margin: ClassVar[bool] = True

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

    def bends(self, response: float) -> list[tuple[float, float]]:
        """Where forces begin to vanish."""
        return [(side * float(np.log1p(response)), 1.0) for side in (-1, 1)]


@dataclass(frozen=True)
class SquaredHinge(Loss):
    """max(0, 1 − yh)²/2."""

    margin: ClassVar[bool] = True
    smooth: ClassVar[bool] = False

    def value(self, h: Array, y: Array) -> Array:
        """max(0, 1 − yh)²/2."""
        return np.maximum(1 - y * h, 0.0) ** 2 / 2

    def slope(self, h: Array, y: Array) -> Array:
        """−y max(0, 1 − yh)."""
        return -y * np.maximum(1 - y * h, 0.0)

    def curvature(self, h: Array, y: Array) -> Array:
        """1 within the margin, else 0."""
        return np.where(y * h < 1, 1.0, 0.0)

    def prox(self, score: Array, y: Array, strength: Array) -> Array:
        """That of the square loss within the margin, else the score."""
        return np.where(y * score < 1, (score + strength * y) / (1 + strength), score)

    def bends(self, response: float) -> list[tuple[float, float]]:
        """The margin."""
        return [(-1.0, 0.0), (1.0, 0.0)]


@dataclass(frozen=True)
class HardMargin(Loss):
    """0 where yh ≥ 1, else ∞: the max-margin solution, min ‖ŵ‖² with every row beyond the margin, at any ridge λ > 0.

    The limit λ → 0 of every loss with `margin` on separable rows, up to the length of ŵ. Weights do not matter to it.
    """

    smooth: ClassVar[bool] = False

    def value(self, h: Array, y: Array) -> Array:
        """0 where yh ≥ 1, else ∞."""
        return np.where(y * h < 1, np.inf, 0.0)

    def slope(self, h: Array, y: Array) -> Array:
        """0 beyond the margin, −y·∞ within it."""
        return -y * self.value(h, y)

    def curvature(self, h: Array, y: Array) -> Array:
        """0 where it is finite."""
        return np.zeros_like(h)

    def prox(self, score: Array, y: Array, strength: Array) -> Array:
        """The nearest score beyond the margin."""
        return y * np.maximum(1.0, y * score)

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        """As for every loss; the force is what brings the row to the margin."""
        missing = np.maximum(1 - y * score, 0.0) / response
        return y * missing, np.where(missing > 0, 1 / response, 0.0)

    def bends(self, response: float) -> list[tuple[float, float]]:
        """The margin."""
        return [(-1.0, 0.0), (1.0, 0.0)]


def require_loss(loss: Any) -> None:
    """Raises InputError unless it is a loss."""
    if not callable(getattr(loss, "answer", None)):
        raise InputError(f"loss = {loss!r} must be a Loss, such as SQUARE or LOGISTIC (dp_theory.span.losses)")


def limits(loss: Loss, lam: float) -> list[tuple[Loss, float]]:
    """Losses and ridges whose solutions, in turn, may be the one at this ridge: at lam = 0 that of HARD_MARGIN, where
    the rows are separable, before the loss's own."""
    widest: list[tuple[Loss, float]] = [(HARD_MARGIN, 1.0)] if lam == 0 and loss.margin else []
    return [*widest, (loss, lam)]


SQUARE, LOGISTIC, SQUARED_HINGE, HARD_MARGIN = Square(), Logistic(), SquaredHinge(), HardMargin()
LOSSES: dict[str, Loss] = {"square": SQUARE, "logistic": LOGISTIC, "squared-hinge": SQUARED_HINGE}
