"""Keep-hard: the rows near the selector's boundary."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfinv, factorial

from dp_theory.numerics.checks import ROUNDING, Real, require, require_numbers
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, SQRT2, THRESHOLD, Fourth, Moments, Rule, kept_fraction, sin_tan

_SMALL = 0.5  # the threshold below which the differences of Lemma 1 lose more than a digit
_TERMS, _STEEP = 10, 0.5  # of the series there, exact to rounding; tau·alpha/√2 from which its terms rise
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
        """Lemma 1. Its differences cancel at small alpha: there gamma and beta_tilde are series."""
        return self._lemma1(rho)[0], _ERRORS

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """By parts, as Lemma 1; its differences cancel at small alpha, where y t³ is a series."""
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

    2 ∫_0^alpha t^power pdf(t) erf(tau t/√2) dt as a power series of the density's exponential. With s = tau·alpha/√2
    and b_k = (2s/√π) ∫_0^1 x^2k exp(-s²x²) dx, so that b_0 = erf(s), the term of t^(2k - 1) is
    alpha^2k (b_0 - b_k)/(2k): nothing cancels, since b_k ≤ b_0/(2k + 1).
    """
    small = np.broadcast_to(alpha < _SMALL, lemma.shape)
    _, tau = sin_tan(rho)
    alpha, tau = (np.broadcast_to(x, lemma.shape)[small] for x in (alpha, tau))
    s, square = np.minimum(np.abs(tau) * alpha / SQRT2, 1e100), alpha * alpha
    first = power // 2 + 1
    total = np.zeros_like(s)
    steep = s > _STEEP
    for cells, moments in ((steep, _rising), (~steep, _falling)):
        terms = moments(s[cells], first + _TERMS)
        part = np.zeros_like(s[cells])
        for k in range(_TERMS, -1, -1):  # Horner's rule in alpha²
            part = part * square[cells] + (-0.5) ** k / factorial(k) * (terms[0] - terms[k + first]) / 2 / (k + first)
        total[cells] = part
    result = np.array(lemma)
    result[small] = np.sign(tau) * 2 * PDF0 * square**first * total
    return result


def _rising(s: np.ndarray, last: int) -> list[np.ndarray]:
    """b_0 to b_last of `_small_window` by parts from the first; the series in alpha forgives how rounding grows."""
    edge, slope = 2 / np.sqrt(np.pi) * s * np.exp(-s * s), 0.5 / (s * s)
    terms = [erf(s)]
    for k in range(1, last + 1):
        terms.append(((2 * k - 1) * terms[-1] - edge) * slope)
    return terms


def _falling(s: np.ndarray, last: int) -> list[np.ndarray]:
    """The same by parts from the last, which is a series of positive terms (s ≤ _STEEP)."""
    edge, twice = 2 / np.sqrt(np.pi) * s * np.exp(-s * s), 2 * s * s
    term = np.zeros_like(s)
    for j in range(last + 10, last, -1):
        term = (edge + twice * term) / (2 * j + 1)
    terms = [(edge + twice * term) / (2 * last + 1)]
    for k in range(last - 1, -1, -1):
        terms.append((edge + twice * terms[-1]) / (2 * k + 1))
    return terms[::-1]


RULES.register("keep-hard", KeepHard, place=1)
