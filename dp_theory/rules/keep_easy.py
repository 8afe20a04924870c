"""Keep-easy: rows far from the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfc, erfcinv

from dp_theory.numerics.checks import ROUNDING, Array, Float, Real, require
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, SQRT2, Fourth, Moments, ThresholdRule, kept_fraction, sine_and_tau


@dataclass(frozen=True)
class KeepEasy(ThresholdRule):
    """q = 1[|t| > alpha]: the rows far from the selector's boundary, the complement of keep-hard.

    Parameters
    ----------
    alpha
        The threshold, 0 < alpha < 37. From 37 on the kept fraction underflows.

    Raises
    ------
    InputError
        For another threshold.

    References
    ----------
    Lemma 2 of the paper.
    """

    help = "rows far from the selector's boundary, |t| > alpha"
    swept = True
    optimised = True
    largest_keep = 1 - 1e-12  # at 1 the threshold is 0

    def __post_init__(self) -> None:
        super().__post_init__()
        keeps_some = erfc(self.alpha / SQRT2) > np.finfo(float).tiny
        require("alpha", self.alpha, keeps_some, "be below 37 for keep-easy: the kept fraction underflows")

    def keep_probability(self, t: Real) -> Real:
        return (np.abs(t) > self.alpha).astype(float)

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        return self.up_to_fourth(rho)[:2]

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """Lemma 2, as sums of positive tails."""
        alpha = np.asarray(self.alpha, float)
        sine, tau = sine_and_tau(rho)
        with np.errstate(divide="ignore"):
            steep = alpha / sine
        p = erfc(alpha / SQRT2)
        tail = 2 * PDF0 * erfc(steep / SQRT2)
        density = 2 * PDF0 * np.exp(-(alpha**2) / 2)  # of |t| at alpha
        signed = density * erf(tau * alpha / SQRT2)
        moments = Moments(p, p + alpha * density, sine * tail, rho * tail + signed)
        error = _tail_error(alpha)
        errors = Moments(error, error, _tail_error(steep), error)

        steep = np.minimum(steep, 40.0)
        square = alpha * alpha
        bent = tail + 4 * PDF0**2 * steep * np.exp(-(steep * steep) / 2)  # yt2v/sine³
        across = sine * sine * bent
        fourth = Fourth(
            t4=3 * p + alpha * (square + 3) * density,
            yt3=rho * (across + 2 * tail) + (square + 2) * signed,
            yt2v=sine * across,
            ytv2=moments.beta_tilde - rho * across,
            yv3=sine * (2 * tail + np.square(rho) * bent),
        )
        return moments, errors, fourth

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        p = kept_fraction(p)
        require("keep", p, p < 1, "be below 1 for keep-easy: keep-all keeps all")
        return cls(SQRT2 * erfcinv(p))

    def draw(self, rng: np.random.Generator, size: int) -> Float[Array, " size"]:
        magnitude = SQRT2 * erfcinv((1 - rng.random(size)) * erfc(self.alpha / SQRT2))
        return np.where(rng.random(size) < 0.5, -magnitude, magnitude)


def _tail_error(x: Any) -> Any:
    return ROUNDING * (12 + 4 * np.square(np.minimum(x, 38.0)))


RULES.register("keep-easy", KeepEasy, place=2)
