"""Keep-easy: the rows far from the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfc, erfcinv

from dp_theory.numerics.checks import ROUNDING, Real, require, require_numbers
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, SQRT2, THRESHOLD, Fourth, Moments, Rule, kept_fraction, sin_tan


@dataclass(frozen=True)
class KeepEasy(Rule):
    """q = 1[|t| > alpha] (Lemma 2), the complement of keep-hard; 0 < alpha < 37."""

    help = "rows far from the selector's boundary, |t| > alpha"
    parameter = "alpha"
    swept = optimised = True
    largest_keep = 1 - 1e-12  # at 1 the threshold is 0

    alpha: Real

    def __post_init__(self) -> None:
        require_numbers(alpha=self.alpha)
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, THRESHOLD)
        require("alpha", self.alpha, erfc(self.alpha / SQRT2) > np.finfo(float).tiny,
                "be below 37 for keep-easy: the kept fraction underflows")  # fmt: skip

    def breakpoints(self) -> tuple[Real, ...]:
        """The threshold."""
        return (self.alpha,)

    def keep_probability(self, t: Any) -> Any:
        """1[|t| > alpha]."""
        return (np.abs(t) > self.alpha).astype(float)

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """Lemma 2 as sums of positive tails rather than as all-kept minus keep-hard."""
        return self._lemma2(rho)[:2]

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """By parts, as Lemma 2: sums of positive tails."""
        moments, errors, alpha, sine, steep, density, tail, signed = self._lemma2(rho)
        steep, square = np.minimum(steep, 40.0), alpha * alpha
        bent = tail + 4 * PDF0**2 * steep * np.exp(-(steep * steep) / 2)  # yt2v/sine³
        across = sine * sine * bent
        fourth = Fourth(
            3 * moments.p + alpha * (square + 3) * density,
            rho * (across + 2 * tail) + (square + 2) * signed,
            sine * across,
            moments.beta_tilde - rho * across,
            sine * (2 * tail + np.square(rho) * bent),
        )
        return moments, errors, fourth

    def _lemma2(self, rho: Real) -> tuple[Moments, Moments, Any, Any, Any, Any, Any, Any]:
        """The moments, their errors, and what they are made of: alpha, sine, alpha/sine, the density of |t| at alpha,
        and beta_tilde's two parts, the first over rho."""
        alpha = np.asarray(self.alpha, float)
        sine, tau = sin_tan(rho)
        with np.errstate(divide="ignore"):
            steep = alpha / sine
        p, tail = erfc(alpha / SQRT2), 2 * PDF0 * erfc(steep / SQRT2)
        density = 2 * PDF0 * np.exp(-(alpha**2) / 2)
        signed = density * erf(tau * alpha / SQRT2)
        moments = Moments(p, p + alpha * density, sine * tail, rho * tail + signed)
        error, steep_error = (_tail_error(x) for x in (alpha, steep))
        return moments, Moments(error, error, steep_error, error), alpha, sine, steep, density, tail, signed

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """alpha such that P(|t| > alpha) = p. Raises InputError unless 0 < p < 1."""
        require("keep", kept_fraction(p), np.asarray(p) < 1, "be below 1 for keep-easy: keep-all keeps all")
        return cls(SQRT2 * erfcinv(p))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of t from both tails, by inversion."""
        magnitude = SQRT2 * erfcinv((1 - rng.random(size)) * erfc(self.alpha / SQRT2))
        return np.where(rng.random(size) < 0.5, -magnitude, magnitude)


def _tail_error(x: Any) -> Any:
    """Relative error of the mass beyond x: rounding of x is magnified by x². Beyond 38 the mass underflows to 0."""
    return ROUNDING * (12 + 4 * np.square(np.minimum(x, 38.0)))


RULES.register("keep-easy", KeepEasy, place=2)
