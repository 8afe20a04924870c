"""Keep-easy: the rows far from the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfc, erfcinv

from dp_theory.checks import ROUNDING, Real, require, require_numbers
from dp_theory.quadrature import PDF0
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
        alpha = np.asarray(self.alpha, float)
        sine, tau = sin_tan(rho)
        with np.errstate(divide="ignore"):
            steep = alpha / sine
        p, tail = erfc(alpha / SQRT2), 2 * PDF0 * erfc(steep / SQRT2)
        density = 2 * PDF0 * np.exp(-(alpha**2) / 2)
        moments = Moments(p, p + alpha * density, sine * tail, rho * tail + density * erf(tau * alpha / SQRT2))
        error, steep_error = (_tail_error(x) for x in (alpha, steep))
        return moments, Moments(error, error, steep_error, error)

    def fourth_moments(self, rho: Real) -> Fourth:
        """By parts, as Lemma 2: sums of positive tails."""
        alpha = np.asarray(self.alpha, float)
        sine, _ = sin_tan(rho)
        with np.errstate(divide="ignore"):
            steep = np.minimum(alpha / sine, 40.0)
        density = 2 * PDF0 * np.exp(-(alpha**2) / 2)
        tail = 2 * PDF0 * erfc(steep / SQRT2)
        bent = tail + 4 * PDF0**2 * steep * np.exp(-(steep**2) / 2)  # yt2v/sine³
        signed = density * erf(rho * steep / SQRT2)
        return Fourth(
            3 * erfc(alpha / SQRT2) + alpha * (alpha**2 + 3) * density,
            rho * (sine**2 * bent + 2 * tail) + (alpha**2 + 2) * signed,
            sine**3 * bent,
            rho * (tail - sine**2 * bent) + signed,
            sine * (2 * tail + np.square(rho) * bent),
        )

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
