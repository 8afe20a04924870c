"""Rules written a second time: entropy pruning in mpmath, and keep-hard without its closed forms."""

from dataclasses import dataclass

import mpmath as mp

from dp_theory.numerics.checks import Real
from dp_theory.rules import KeepHard, Rule

INTERVALS = [0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1, 2, 4, 8, 16, 30]


def tilted(omega, kappa):
    """Entropy pruning's q(t) = exp(omega (H(t) - max H)) for mpmath's numbers; max H counts for omega > 0 only."""

    def q(t):
        s = 1 / (1 + mp.exp(-kappa * t))
        entropy = -s * mp.log(s) - (1 - s) * mp.log(1 - s) if s < 1 else mp.mpf(0)
        return mp.exp(omega * (entropy - (mp.log(2) if omega > 0 else 0)))

    return q


def integrated_moments(q, rho):
    """The definitions: p = E[q], gamma = E[q G²], beta = 2E[q pdf(tau G)], beta_tilde = 2E[q cdf(tau G) G]."""
    tau = rho / mp.sqrt(1 - mp.mpf(rho) ** 2)

    def mean(f):
        return 2 * mp.quad(lambda t: q(t) * f(t) * mp.npdf(t), INTERVALS)

    return [
        mean(lambda t: 1),
        mean(lambda t: t**2),
        mean(lambda t: 2 * mp.npdf(tau * t)),
        mean(lambda t: t * (2 * mp.ncdf(tau * t) - 1)),
    ]


@dataclass(frozen=True)
class WindowByQuadrature(Rule):
    """Keep-hard without its closed forms, so that its moments are integrated up to a threshold that may be an array."""

    alpha: Real

    def breakpoints(self):
        return (self.alpha,)

    def keep_probability(self, t):
        return KeepHard(self.alpha).keep_probability(t)
