"""Keep probabilities and weights of a projection t and an observed label y = ±1, which rules (dp_theory.rules) cannot
be.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from dp_theory.numerics.checks import Real


@dataclass(frozen=True)
class Agree:
    """1[y·t > 0]: the label-aware rule, which keeps a row if the direction's own label is the observed one."""

    def __call__(self, t: Real, y: Real) -> Real:
        return np.asarray(np.multiply(y, t) > 0, dtype=float)


@dataclass(frozen=True)
class Verifier:
    """σ(slope·y·t), with the logistic function σ: a verifier's probability that the observed label is right.

    Parameters
    ----------
    slope
        How sure the verifier is.
    """

    slope: float

    def __call__(self, t: Real, y: Real) -> Real:
        return expit(self.slope * np.multiply(y, t))


@dataclass(frozen=True)
class Interpolating:
    """[4 σ(κt) (1 − σ(κt))]^ω, with the logistic function σ: 1 at t = 0.

    Parameters
    ----------
    omega
        ω > 0 favours hard rows. ω < 0 favours easy rows and exceeds 1, so that it can only be a weight.
    slope
        κ.

    References
    ----------
    Section 4 of the paper, after Kolossov et al. 2024.
    """

    omega: float
    slope: float = 1.0

    def __call__(self, t: Real, y: Real) -> Real:
        """cosh(κt/2)^(−2ω), without cancellation or overflow."""
        half = self.slope * np.asarray(t) / 2
        return np.exp(-2 * self.omega * (np.logaddexp(half, -half) - np.log(2)))
