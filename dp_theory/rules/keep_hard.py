"""Keep-hard: the rows near the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfinv, factorial, gammainc

from dp_theory.checks import ROUNDING, Real, require, require_numbers
from dp_theory.quadrature import PDF0, gauss
from dp_theory.rules.base import RULES, SQRT2, THRESHOLD, Fourth, Moments, Rule, kept_fraction, sin_tan

_NODES, _CELLS = 24, 4096  # of the integral there, exact to rounding up to tau t = 9; cells that the cache holds
_SMALL = 0.5  # the threshold below which the differences of Lemma 1 lose more than a digit
_LOG_DENSITY0 = np.log(2 * PDF0)
_SERIES = {  # of ∫_0^1 x^power exp(-alpha² x²/2) dx, in alpha²
    power: [(-0.5) ** k / factorial(k) / (2 * k + power + 1) for k in range(10, -1, -1)] for power in (2, 4)
}
_ERRORS = Moments(6 * ROUNDING, 96 * ROUNDING, 12 * ROUNDING, 96 * ROUNDING)  # 1.5 to 2 times what 60 digits show


@dataclass(frozen=True)
class KeepHard(Rule):
    """q = 1[|t| ≤ alpha] (Lemma 1), alpha > 0. alpha = inf keeps all."""

    help = "rows near the selector's boundary, |t| ≤ alpha"
    parameter = "alpha"
    swept = optimised = True

    alpha: Real

    def __post_init__(self) -> None:
        require_numbers(alpha=self.alpha)
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, THRESHOLD)

    def breakpoints(self) -> tuple[Real, ...]:
        """The threshold."""
        return (self.alpha,)

    def keep_probability(self, t: Any) -> Any:
        """1[|t| ≤ alpha]."""
        return (np.abs(t) <= self.alpha).astype(float)

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """Lemma 1. Its differences cancel at small alpha: there gamma is a series and beta_tilde an integral."""
        return self._lemma1(rho)[0], _ERRORS

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """By parts, as Lemma 1; its differences cancel at small alpha, where y t³ is integrated."""
        moments, alpha, density, steep, near, edge = self._lemma1(rho)
        rho, square = np.asarray(rho, float), alpha * alpha
        variance = (1 - rho) * (1 + rho)
        reach = np.minimum(steep, 30.0)  # beyond, exp(-steep²) is 0
        bent = near - (2 * PDF0 * SQRT2) * 2 * PDF0 * reach * np.exp(-reach * reach)  # yt2v/sine³
        if np.any(shallow := reach < _SMALL / SQRT2):
            bent = np.where(shallow, 2 * PDF0 * _power(SQRT2 * reach, 2), bent)[()]
        across = variance * bent
        t4 = 3 * moments.gamma - alpha * square * density
        yt3 = rho * across + 2 * (rho * near - edge) - square * edge
        if np.any(small := alpha < _SMALL):
            t4 = np.where(small, _power(alpha, 4), t4)[()]
            yt3 = _small_window(alpha, rho, np.asarray(yt3), 3)[()]
        sine = np.sqrt(variance)
        fourth = Fourth(
            t4, yt3, sine * across, moments.beta_tilde - rho * across, 2 * moments.beta + sine * (rho * rho) * bent
        )
        return moments, _ERRORS, fourth

    def _lemma1(self, rho: Real) -> tuple[Moments, Any, Any, Any, Any, Any]:
        """The moments, and what Lemma 1 makes them of: alpha, the density of |t| there, the argument of beta's erf,
        beta/sine, and what beta_tilde lacks of rho·beta/sine."""
        alpha = np.minimum(self.alpha, 40.0)  # beyond, all is kept to 1e-300, and inf·0 is avoided
        rho = np.asarray(rho, float)
        sine = np.sqrt((1 - rho) * (1 + rho))
        scaled = alpha * (1 / SQRT2)
        with np.errstate(divide="ignore"):
            steep = scaled / sine
        p = erf(scaled)
        density = np.exp(_LOG_DENSITY0 - scaled * scaled)
        near, edge = 2 * PDF0 * erf(steep), density * erf(rho * steep)
        gamma = p - alpha * density
        beta_tilde = rho * near - edge
        if np.any(small := alpha < _SMALL):
            gamma = np.where(small, _power(alpha, 2), gamma)[()]
            beta_tilde = _small_window(alpha, rho, np.asarray(beta_tilde), 1)[()]
        return Moments(p, gamma, sine * near, beta_tilde), alpha, density, steep, near, edge

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """alpha such that P(|t| ≤ alpha) = p. Raises InputError unless 0 < p ≤ 1."""
        return cls(SQRT2 * erfinv(kept_fraction(p)))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of t from the window, by inversion."""
        return SQRT2 * erfinv(rng.uniform(-1, 1, size) * erf(self.alpha / SQRT2))


def _power(alpha: Any, power: int) -> Any:
    """E[t^power; |t| ≤ alpha] for a small alpha, by its series; power 2 or 4."""
    return 2 * PDF0 * alpha ** (power + 1) * np.polyval(_SERIES[power], alpha * alpha)


def _small_window(alpha: Any, rho: Any, lemma: np.ndarray, power: int) -> np.ndarray:
    """E[t^power sign(w0·x); |t| ≤ alpha], power odd, where alpha is small; elsewhere Lemma 1's difference `lemma`.

    2 ∫_0^alpha t^power pdf(t) erf(tau t/√2) dt; past tau t = 9 the erf is 1, and the rest an incomplete gamma function.
    """
    small = np.broadcast_to(alpha < _SMALL, lemma.shape)
    _, tau = sin_tan(rho)
    alpha, tau = (np.broadcast_to(x, lemma.shape)[small] for x in (alpha, tau))
    steep = np.minimum(np.abs(tau) * alpha, 9.0)
    end = np.where(steep < 9.0, alpha, 9.0 / np.maximum(np.abs(tau), 1.0))
    x, weights = gauss(_NODES)
    integral = np.empty_like(end)
    for start in range(0, end.size, _CELLS):
        cells = slice(start, start + _CELLS)
        t = end[cells, None] * x
        integrand = t**power * np.exp(-(t**2) / 2) * erf(steep[cells, None] * x / SQRT2)
        integral[cells] = end[cells] * (integrand @ weights)
    if power == 1:
        rest = -np.exp(-(end**2) / 2) * np.expm1(-(alpha - end) * (alpha + end) / 2)
    else:
        rest = 2 * (gammainc(2, alpha**2 / 2) - gammainc(2, end**2 / 2))
    result = np.array(lemma)
    result[small] = np.sign(tau) * 2 * PDF0 * (integral + rest)
    return result


RULES.register("keep-hard", KeepHard, place=1)
