"""Keep probabilities and weights that depend on the label or exceed 1, which rules (dp_theory.rules) cannot.

Each is a function of a projection t and an observed label y = ±1, elementwise, for `keep` or `weight` of a `Group` or
an `Addition`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from dp_theory.numerics.checks import Array


@dataclass(frozen=True)
class Agree:
    """1[y t > 0]: the label-aware rule, which keeps a row if the direction's own label is the observed one."""

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        """1 where y t > 0, else 0."""
        return np.asarray(np.multiply(y, t) > 0, dtype=float)


@dataclass(frozen=True)
class Verifier:
    """σ(slope · y t), σ the logistic function: a verifier's probability that the observed label is right."""

    slope: float

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        """σ(slope · y t)."""
        return expit(self.slope * np.multiply(y, t))


@dataclass(frozen=True)
class Interpolating:
    """[4 σ(κt) (1 − σ(κt))]^ω, κ the slope: 1 at t = 0 (paper, section 4, after Kolossov et al. 2024).

    ω > 0 favours hard rows; ω < 0 favours easy ones and exceeds 1, so that it can be a weight only.
    """

    omega: float
    slope: float = 1.0

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        """cosh(κt/2)^(−2ω), the same function without cancellation or overflow of the cosh."""
        half = self.slope * np.asarray(t) / 2
        return np.exp(-2 * self.omega * (np.logaddexp(half, -half) - np.log(2)))
