"""Convex losses of a `SpanProblem` or `PracticeProblem`: the named ones, and how to write another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, ndtr

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Real
from dp_theory.numerics.quadrature import pdf

_MEAN_NODES = 32  # of a force's mean over a score


OfRows = Callable[..., Real]


class Loss:
    """A convex loss ℓ(h; y) of the score h of a row and its label y = ±1. All methods are elementwise.

    `margin` says whether ŵ turns to the max-margin solution as λ → 0 on separable rows (Rosset, Zhu and Hastie 2003).
    `smooth` says whether the forces have a derivative everywhere.
    """

    margin: ClassVar[bool] = False
    smooth: ClassVar[bool] = True

    value: OfRows  # ℓ(h, y),
    slope: OfRows  # ℓ',
    curvature: OfRows  # ℓ'',
    prox: OfRows  # and of (score, y, strength) the root h of h + strength·ℓ'(h; y) = score, for strength ≥ 0

    def answer(self, score: Real, y: Real, weight: Real, response: float) -> tuple[Real, Real]:
        """A row's force f = −weight·ℓ'(h; y) at h = score + response·f, and its bend −∂f/∂score."""
        h = self.prox(score, y, response * weight)
        bend = weight * self.curvature(h, y)
        return -weight * self.slope(h, y), bend / (1 + response * bend)

    def mean_answer(self, score: Real, noise: float, y: Real, weight: Real, response: float) -> tuple[Real, Real, Real]:
        """The means of the force, its square and its bend over a score that is N(score, noise²).

        Gauss-Hermite quadrature sees kinks at its nodes alone: a loss that is not smooth should override this.
        """
        nodes, shares = np.polynomial.hermite_e.hermegauss(_MEAN_NODES)
        force, bend = self.answer(score + noise * nodes[:, None], y, weight, response)
        mean_force, square, mean_bend = (np.average(part, 0, shares) for part in (force, force**2, bend))
        return mean_force, square, mean_bend

    def bends(self, response: float) -> list[tuple[float, float]]:
        """Scores around which forces bend, each with a width, for quadrature."""
        return []


@dataclass(frozen=True)
class Square(Loss):
    """(y − h)²/2, the paper's loss."""

    def value(self, h: Real, y: Real) -> Real:
        return (y - h) ** 2 / 2

    def slope(self, h: Real, y: Real) -> Real:
        return h - y

    def curvature(self, h: Real, y: Real) -> Real:
        return np.ones_like(h)

    def prox(self, score: Real, y: Real, strength: Real) -> Real:
        return (score + strength * y) / (1 + strength)


@dataclass(frozen=True)
class QuadraticLoss:
    """The loss H(m y - h)²/2 with curvature H and target m. Infinite curvature interpolates: h = m y."""

    curvature: float = 1.0
    target: float = 1.0

    def bend(self, weight: Real, response: float) -> Real:
        if np.isinf(self.curvature):
            return np.full_like(weight, 1 / response)
        return weight * self.curvature / (1 + response * weight * self.curvature)

    def answer(self, score: Real, y: Real, weight: Real, response: float) -> tuple[Real, Real]:
        beta = self.bend(weight, response)
        return beta * (self.target * y - score), beta

    def mean_answer(self, score: Real, noise: float, y: Real, weight: Real, response: float) -> tuple[Real, Real, Real]:
        force, beta = self.answer(score, y, weight, response)
        return force, force**2 + (beta * noise) ** 2, beta


@dataclass(frozen=True)
class Logistic(Loss):
    """ln(1 + exp(−yh))."""

    margin: ClassVar[bool] = True

    def value(self, h: Real, y: Real) -> Real:
        return np.logaddexp(0, -y * h)

    def slope(self, h: Real, y: Real) -> Real:
        return -y * expit(-y * h)

    def curvature(self, h: Real, y: Real) -> Real:
        return expit(h) * expit(-h)

    def prox(self, score: Real, y: Real, strength: Real) -> Real:
        """Newton's method from the point of [w, w + strength] nearest to 0 can neither overshoot nor cycle."""
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
        return [(side * float(np.log1p(response)), 1.0) for side in (-1, 1)]


class Ramp(Loss):
    """Losses that are 0 where yh ≥ 1: the force rises with what is missing there, as far as it may."""

    margin: ClassVar[bool] = True
    smooth: ClassVar[bool] = False

    def steepness(self, weight: Real, response: float) -> Real:
        """By how much the force rises per score that is missing."""
        return 1 / response

    def most(self, weight: Real) -> Real:
        """The largest force."""
        return np.inf

    def answer(self, score: Real, y: Real, weight: Real, response: float) -> tuple[Real, Real]:
        steep = self.steepness(weight, response)
        force = steep * (1 - y * score)
        rises = (force > 0) & (force < self.most(weight))
        return y * np.clip(force, 0.0, self.most(weight)), np.where(rises, steep, 0.0)

    def mean_answer(self, score: Real, noise: float, y: Real, weight: Real, response: float) -> tuple[Real, Real, Real]:
        """The means of a ramp, less those of the ramp from where the force is the largest."""
        steep = self.steepness(weight, response)
        most = self.most(weight)
        force, square, bend = _mean_of_ramp(score, noise, y, steep)
        if np.all(np.isinf(most)):
            return force, square, bend
        beyond, square_beyond, bend_beyond = _mean_of_ramp(score + y * most / steep, noise, y, steep)
        return force - beyond, square - square_beyond - 2 * most * np.abs(beyond), bend - bend_beyond

    def bends(self, response: float) -> list[tuple[float, float]]:
        return [(side * at, 0.0) for side in (-1, 1) for at in (1.0, 1 - response * self.most(1.0)) if np.isfinite(at)]


def _mean_of_ramp(score: Real, noise: float, y: Real, steepness: Real) -> tuple[Real, Real, Real]:
    missing = (1 - y * score) / noise
    chance = ndtr(missing)
    density = pdf(missing)
    force = steepness * noise * y * (missing * chance + density)
    square = (steepness * noise) ** 2 * ((1 + missing**2) * chance + missing * density)
    return force, square, steepness * chance


@dataclass(frozen=True)
class SquaredHinge(Ramp):
    """max(0, 1 − yh)²/2."""

    def value(self, h: Real, y: Real) -> Real:
        return np.maximum(1 - y * h, 0.0) ** 2 / 2

    def slope(self, h: Real, y: Real) -> Real:
        return -y * np.maximum(1 - y * h, 0.0)

    def curvature(self, h: Real, y: Real) -> Real:
        return np.where(y * h < 1, 1.0, 0.0)

    def steepness(self, weight: Real, response: float) -> Real:
        return weight / (1 + response * weight)


@dataclass(frozen=True)
class Hinge(Ramp):
    """max(0, 1 − yh), the loss of support vector machines."""

    def most(self, weight: Real) -> Real:
        return weight


@dataclass(frozen=True)
class HardMargin(Ramp):
    """The squared hinge of infinite weight, 0 where yh ≥ 1, else ∞: the limit λ → 0 of every loss with `margin` on
    separable rows, up to the length of ŵ (T4.5).
    """


SQUARE = Square()
LOGISTIC = Logistic()
SQUARED_HINGE = SquaredHinge()
HINGE = Hinge()
HARD_MARGIN = HardMargin()
LOSSES: dict[str, Loss] = {"square": SQUARE, "logistic": LOGISTIC, "squared-hinge": SQUARED_HINGE, "hinge": HINGE}


def require_loss(loss: Any) -> None:
    """What is no loss is refused."""
    if not isinstance(loss, Loss):
        raise InputError(f"loss = {loss!r} must be a Loss, such as SQUARE or LOGISTIC (dp_theory.loop.losses)")


def candidate_limits(loss: Loss, lam: float) -> list[tuple[Loss, float]]:
    """Losses and ridges, of which the first with a solution counts: at lam = 0 HARD_MARGIN comes first."""
    own = (loss, lam)
    if lam == 0 and loss.margin:
        return [(HARD_MARGIN, 1.0), own]
    return [own]
