"""Keep-hard: rows near the selector's boundary."""

from dataclasses import dataclass
from math import factorial
from typing import Any, Self

import numpy as np
from scipy.special import erf, erfinv

from dp_theory.numerics.checks import ROUNDING, Array, Float, Real, sine_of
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, SQRT2, Fourth, Moments, ThresholdRule, kept_fraction, sine_and_tau

# Threshold beyond which all rows are kept, to 1e-300.
_FARTHEST = 40.0
# Threshold below which the differences of Lemma 1 lose more than a digit.
_SMALL = 0.5
# Terms of the series in alpha² that are used there; with these it is exact to rounding.
_TERMS = 10
# tau·alpha/√2 from which the terms of these series are computed from the first on.
_STEEP = 0.5
_LOG_DENSITY0 = np.log(2 * PDF0)
# Coefficients of ∫_0^1 x^power exp(-alpha² x²/2) dx in alpha², the highest power first.
_SERIES = {power: [(-0.5) ** k / factorial(k) / (2 * k + power + 1) for k in range(_TERMS, -1, -1)] for power in (2, 4)}
# 1.5 to 2 times what 60 digits show.
_ERRORS = Moments(6 * ROUNDING, 96 * ROUNDING, 12 * ROUNDING, 96 * ROUNDING)


@dataclass(frozen=True)
class KeepHard(ThresholdRule):
    """q = 1[|t| ≤ alpha]: the rows near the selector's boundary.

    Parameters
    ----------
    alpha
        The threshold, positive. inf keeps all rows.

    Raises
    ------
    InputError
        For another threshold.

    References
    ----------
    Lemma 1 of the paper.
    """

    help = "rows near the selector's boundary, |t| ≤ alpha"
    swept = True
    optimised = True

    def keep_probability(self, t: Real) -> Real:
        return (np.abs(t) <= self.alpha).astype(float)

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        return _lemma1(self.alpha, rho)[0], _ERRORS

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """Integrals by parts; their differences cancel at small alpha, where they are series."""
        moments, alpha, density, steep, reached, edge = _lemma1(self.alpha, rho)
        rho = np.asarray(rho, float)
        variance = (1 - rho) * (1 + rho)
        square = alpha * alpha
        bent = _bent(steep, reached)
        across = variance * bent
        t4 = 3 * moments.gamma - alpha * square * density
        yt3 = rho * across + 2 * (rho * reached - edge) - square * edge
        if np.any(small := alpha < _SMALL):
            t4 = np.where(small, _even_moment(alpha, 4), t4)[()]
            yt3 = _odd_moment(alpha, rho, np.asarray(yt3), 3)[()]
        sine = np.sqrt(variance)
        fourth = Fourth(
            t4=t4,
            yt3=yt3,
            yt2v=sine * across,
            ytv2=moments.beta_tilde - rho * across,
            yv3=2 * moments.beta + sine * (rho * rho) * bent,
        )
        return moments, _ERRORS, fourth

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(SQRT2 * erfinv(kept_fraction(p)))

    def draw(self, rng: np.random.Generator, size: int) -> Float[Array, " size"]:
        return SQRT2 * erfinv(rng.uniform(-1, 1, size) * erf(self.alpha / SQRT2))


def _lemma1(alpha: Any, rho: Any) -> tuple[Moments, Any, Any, Any, Any, Any]:
    """The moments; alpha, the density of |t| there, the argument of beta's erf, and reached and edge.

    beta is √(1 - rho²)·reached, and beta_tilde rho·reached - edge.
    """
    alpha = np.minimum(np.asarray(alpha, float), _FARTHEST)  # avoids inf·0
    rho = np.asarray(rho, float)
    sine = sine_of(rho)
    scaled = alpha * (1 / SQRT2)
    with np.errstate(divide="ignore"):
        steep = scaled / sine
    p = erf(scaled)
    density = np.exp(_LOG_DENSITY0 - scaled * scaled)
    reached = 2 * PDF0 * erf(steep)
    edge = density * erf(rho * steep)
    gamma = p - alpha * density
    beta_tilde = rho * reached - edge
    if np.any(small := alpha < _SMALL):
        gamma = np.where(small, _even_moment(alpha, 2), gamma)[()]
        beta_tilde = _odd_moment(alpha, rho, np.asarray(beta_tilde), 1)[()]
    return Moments(p, gamma, sine * reached, beta_tilde), alpha, density, steep, reached, edge


def _bent(steep: Any, reached: Any) -> Any:
    reach = np.minimum(steep, 30.0)  # beyond, exp(-steep²) is 0
    bent = reached - (2 * PDF0 * SQRT2) * 2 * PDF0 * reach * np.exp(-reach * reach)
    if np.any(shallow := reach < _SMALL / SQRT2):
        bent = np.where(shallow, 2 * PDF0 * _even_moment(SQRT2 * reach, 2), bent)[()]
    return bent


def _even_moment(alpha: Any, power: int) -> Any:
    """E[t^power; |t| ≤ alpha] for a small alpha, by its series."""
    return 2 * PDF0 * alpha ** (power + 1) * np.polyval(_SERIES[power], alpha * alpha)


def _odd_moment(alpha: Any, rho: Any, lemma: np.ndarray, power: int) -> np.ndarray:
    """E[t^power sign(w0·x); |t| ≤ alpha] for an odd power; where alpha is not small, Lemma 1's difference `lemma`.

    It integrates 2 t^power pdf(t) erf(tau t/√2) with the exponential as a power series: with s = |tau|·alpha/√2 and b_k
    = (2s/√π) ∫_0^1 x^2k exp(-s²x²) dx, the term of t^(2k - 1) is alpha^2k (b_0 - b_k)/(2k), in which nothing cancels.
    """
    small = np.broadcast_to(alpha < _SMALL, lemma.shape)
    _, tau = sine_and_tau(rho)
    alpha, tau = (np.broadcast_to(value, lemma.shape)[small] for value in (alpha, tau))
    s = np.minimum(np.abs(tau) * alpha / SQRT2, 1e100)
    square = alpha * alpha
    first = power // 2 + 1
    steep = s > _STEEP
    total = np.zeros_like(s)
    for places, b_of in ((steep, _b_from_the_first), (~steep, _b_from_the_last)):
        total[places] = _odd_series(b_of(s[places], first + _TERMS), square[places], first)
    result = np.array(lemma)
    result[small] = np.sign(tau) * 2 * PDF0 * square**first * total
    return result


def _odd_series(b: list[np.ndarray], square: np.ndarray, first: int) -> np.ndarray:
    total = np.zeros_like(square)
    for k in range(_TERMS, -1, -1):
        total = total * square + (-0.5) ** k / factorial(k) * (b[0] - b[k + first]) / 2 / (k + first)
    return total


def _b_from_the_first(s: np.ndarray, last: int) -> list[np.ndarray]:
    """b_0 to b_last, by parts upwards: rounding grows with k, but the higher b_k count less."""
    edge = 2 / np.sqrt(np.pi) * s * np.exp(-s * s)
    slope = 0.5 / (s * s)
    b = [erf(s)]
    for k in range(1, last + 1):
        b.append(((2 * k - 1) * b[-1] - edge) * slope)
    return b


def _b_from_the_last(s: np.ndarray, last: int) -> list[np.ndarray]:
    """For s ≤ _STEEP, by parts downwards from a series of positive terms."""
    edge = 2 / np.sqrt(np.pi) * s * np.exp(-s * s)
    twice = 2 * s * s
    b = [np.zeros_like(s)]
    for k in range(last + 10, -1, -1):
        b.append((edge + twice * b[-1]) / (2 * k + 1))
    return b[::-1]


RULES.register("keep-hard", KeepHard, place=1)
