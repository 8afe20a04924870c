"""Keep-easy: the rows far from the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfc, erfcinv, gammaincc

from dp_theory.checks import Real, require
from dp_theory.quadrature import PDF0
from dp_theory.rules.base import SQRT2, THRESHOLD, Moments, Rule, kept_fraction, sin_tan


@dataclass(frozen=True)
class KeepEasy(Rule):
    """q = 1[|t| > alpha] (Lemma 2), the complement of keep-hard."""

    alpha: Real

    def __post_init__(self) -> None:
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, THRESHOLD)
        require("alpha", self.alpha, erfc(self.alpha / SQRT2) > np.finfo(float).tiny,
                "be below 37 for keep-easy: the kept fraction underflows")  # fmt: skip

    @property
    def breakpoints(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both
        return (float(self.alpha),)

    def keep_probability(self, t: Any) -> Any:
        return (np.abs(t) > self.alpha).astype(float)

    def moments(self, rho: Real) -> Moments:
        """Lemma 2 as sums of positive tails rather than as all-kept minus keep-hard."""
        alpha = np.asarray(self.alpha, float)
        sine, tau = sin_tan(rho)
        with np.errstate(divide="ignore"):
            tail = erfc(alpha / sine / SQRT2)
        beta_tilde = 2 * PDF0 * (rho * tail + np.exp(-(alpha**2) / 2) * erf(tau * alpha / SQRT2))
        return Moments(erfc(alpha / SQRT2), gammaincc(1.5, alpha**2 / 2), 2 * PDF0 * sine * tail, beta_tilde)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        require("keep", kept_fraction(p), np.asarray(p) < 1, "be below 1 for keep-easy: keep-all keeps all")
        return cls(SQRT2 * erfcinv(p))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        magnitude = SQRT2 * erfcinv((1 - rng.random(size)) * erfc(self.alpha / SQRT2))
        return np.where(rng.random(size) < 0.5, -magnitude, magnitude)
