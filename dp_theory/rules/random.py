"""Selection that looks at nothing: a random share, or all rows."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from dp_theory.numerics.checks import ROUNDING, Array, Float, Real, require_in, sine_of
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, Fourth, Moments, Rule, kept_fraction

# p and gamma are as given.
_ERRORS = Moments(0.0, 0.0, 8 * ROUNDING, 8 * ROUNDING)


class _BlindRule(Rule):
    p: Real

    def keep_probability(self, t: Real) -> Real:
        return self.p + np.zeros(np.shape(t))

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        p = np.asarray(self.p, float)
        return Moments(p, p, 2 * PDF0 * p * sine_of(rho), 2 * PDF0 * p * rho), _ERRORS

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        moments, errors = self.moments_with_errors(rho)
        p, _, beta, beta_tilde = moments
        cosine2 = np.square(np.asarray(rho, float))
        sine2 = 1 - cosine2
        fourth = Fourth(
            t4=3 * p,
            yt3=beta_tilde * (3 - cosine2),
            yt2v=beta * sine2,
            ytv2=beta_tilde * cosine2,
            yv3=beta * (3 - sine2),
        )
        return moments, errors, fourth

    def draw(self, rng: np.random.Generator, size: int) -> Float[Array, " size"]:
        return rng.standard_normal(size)


@dataclass(frozen=True)
class Random(_BlindRule):
    """q = p, whatever t is.

    Parameters
    ----------
    p
        The kept fraction, 0 < p ≤ 1.

    Raises
    ------
    InputError
        For another p.
    """

    help = "a random fraction p of the rows"
    swept = True

    p: Real

    def __post_init__(self) -> None:
        require_in("(0, 1]", "it is the kept fraction of the pool", p=self.p)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(kept_fraction(p))


@dataclass(frozen=True)
class KeepAll(_BlindRule):
    """q = 1: no selection."""

    help = "all rows"
    p = 1.0


RULES.register("keep-all", KeepAll, place=3)
RULES.register("random", Random, place=4)
