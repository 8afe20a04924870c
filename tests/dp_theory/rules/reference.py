"""Rules written a second time: entropy pruning in mpmath, and keep-hard without its closed forms."""

from dataclasses import dataclass

import mpmath as mp

from dp_theory.numerics.checks import Real
from dp_theory.rules import KeepHard, Rule


def tilted(omega, kappa):
    """Entropy pruning's q(t) = exp(omega (H(t) - max H)) for mpmath's numbers; max H counts for omega > 0 only."""

    def q(t):
        s = 1 / (1 + mp.exp(-kappa * t))
        entropy = -s * mp.log(s) - (1 - s) * mp.log(1 - s) if s < 1 else mp.mpf(0)
        return mp.exp(omega * (entropy - (mp.log(2) if omega > 0 else 0)))

    return q


@dataclass(frozen=True)
class WindowByQuadrature(Rule):
    """Keep-hard without its closed forms, so that its moments are integrated up to a threshold that may be an array."""

    alpha: Real

    def breakpoints(self):
        return (self.alpha,)

    def keep_probability(self, t):
        return KeepHard(self.alpha).keep_probability(t)
