"""The moments of a selection rule that the asymptotics need, and the integrals that define them.

G = x·w_s, V = x·v with v ⟂ w_s in the plane of w_s and w0, y = sign(w0·x), tau = rho/√(1 - rho²).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import erf, gammainc

from dp_theory.numerics.checks import Real
from dp_theory.numerics.quadrature import PDF0

SQRT2 = np.sqrt(2)


class Moments(NamedTuple):
    """The constants of Theorem 1. They broadcast.

    Attributes
    ----------
    p
        E[q(G)], the kept fraction.
    gamma
        E[q(G) G²].
    beta
        2 E[q(G) pdf(tau G)] = E[q y V].
    beta_tilde
        2 E[q(G) cdf(tau G) G] = E[q y G].

    References
    ----------
    Section 4 of the paper.
    """

    p: Real
    gamma: Real
    beta: Real
    beta_tilde: Real

    def flipped(self, flip: Real) -> "Moments":
        clean = 1 - 2 * np.asarray(flip)
        return self._replace(beta=clean * self.beta, beta_tilde=clean * self.beta_tilde)


class Fourth(NamedTuple):
    """E[q G⁴], E[q y G³], E[q y G² V], E[q y G V²], E[q y V³]."""

    t4: Real
    yt3: Real
    yt2v: Real
    ytv2: Real
    yv3: Real

    def flipped(self, flip: Real) -> "Fourth":
        clean = 1 - 2 * np.asarray(flip)
        return Fourth(self.t4, *(clean * moment for moment in self[1:]))


def sine_and_tau(rho: Real) -> tuple[Real, Real]:
    """√(1 - rho²) and tau, which is ±inf at rho = ±1."""
    rho = np.asarray(rho, float)
    sine = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(divide="ignore"):
        return sine, rho / sine


def moment_integrands(t: Real, b: Real) -> list[Real]:
    """Functions of t = |G| whose means are `Moments`; b = tau·t."""
    return [1.0, t**2, 2 * PDF0 * np.exp(-(b**2) / 2), t * erf(b / SQRT2)]


def fourth_integrands(t: Real, b: Real) -> list[Real]:
    """The same for `Moments` and `Fourth`."""
    square = t**2
    density = 2 * PDF0 * np.exp(-(b**2) / 2)  # of V at ±b
    signed = t * erf(b / SQRT2)  # t·E[y | t]
    third = t * np.sign(b) * gammainc(1.5, b**2 / 2)  # signed - t·b·density, which cancels where b is small
    fourth = [square * square, square * signed, square * density, third, (b**2 + 2) * density]
    return [1.0, square, density, signed, *fourth]
