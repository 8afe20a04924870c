"""Keep-hard: the rows near the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfinv, gammainc

from dp_theory.checks import Real, require
from dp_theory.quadrature import PDF0, gauss
from dp_theory.rules.base import SQRT2, THRESHOLD, Moments, Rule, kept_fraction, sin_tan


@dataclass(frozen=True)
class KeepHard(Rule):
    """q = 1[|t| ≤ alpha] (Lemma 1). alpha = inf keeps all."""

    alpha: Real

    def __post_init__(self) -> None:
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, THRESHOLD)

    @property
    def breakpoints(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both
        return (float(self.alpha),)

    def keep_probability(self, t: Any) -> Any:
        return (np.abs(t) <= self.alpha).astype(float)

    def moments(self, rho: Real) -> Moments:
        """Lemma 1; its differences cancel at small alpha, where gamma is an incomplete gamma function."""
        alpha = np.minimum(self.alpha, 40.0)  # beyond, all is kept to 1e-300, and inf·0 is avoided
        rho = np.asarray(rho, float)
        sine = np.sqrt((1 - rho) * (1 + rho))
        scaled = alpha * (1 / SQRT2)
        with np.errstate(divide="ignore"):
            steep = scaled / sine
        p = erf(scaled)
        density = 2 * PDF0 * np.exp(-scaled * scaled)
        near = 2 * PDF0 * erf(steep)
        gamma = p - alpha * density
        beta_tilde = rho * near - density * erf(rho * steep)
        if np.any(small := alpha < 0.5):
            gamma = np.where(small, gammainc(1.5, scaled * scaled), gamma)[()]
            beta_tilde = _small_window(alpha, rho, np.asarray(beta_tilde))[()]
        return Moments(p, gamma, sine * near, beta_tilde)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(SQRT2 * erfinv(kept_fraction(p)))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return SQRT2 * erfinv(rng.uniform(-1, 1, size) * erf(self.alpha / SQRT2))


def _small_window(alpha: Any, rho: Any, lemma: np.ndarray) -> np.ndarray:
    """E[t sign(w0·x); |t| ≤ alpha]: Lemma 1's difference, which loses 2·log10(1/alpha) digits; alpha < 1/2 integrated.

    2 ∫_0^alpha t pdf(t) erf(tau t/√2) dt; past tau t = 9 the erf is 1 and the rest is elementary.
    """
    small = np.broadcast_to(alpha < 0.5, lemma.shape)
    _, tau = sin_tan(rho)
    alpha, tau = (np.broadcast_to(x, lemma.shape)[small] for x in (alpha, tau))
    steep = np.minimum(np.abs(tau) * alpha, 9.0)
    end = np.where(steep < 9.0, alpha, 9.0 / np.maximum(np.abs(tau), 1.0))
    x, weights = gauss(40)
    t = end[:, None] * x
    integral = end * ((t * np.exp(-(t**2) / 2) * erf(steep[:, None] * x / SQRT2)) @ weights)
    rest = -np.exp(-(end**2) / 2) * np.expm1(-(alpha - end) * (alpha + end) / 2)
    result = np.array(lemma)
    result[small] = np.sign(tau) * 2 * PDF0 * (integral + rest)
    return result
