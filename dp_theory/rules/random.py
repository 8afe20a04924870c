"""Selection that looks at nothing: a random share of the rows, or all of them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dp_theory.numerics.checks import ROUNDING, Real, require
from dp_theory.numerics.quadrature import PDF0
from dp_theory.rules.base import RULES, Fourth, Moments, Rule, kept_fraction, sin_tan

_ERRORS = Moments(0.0, 0.0, 8 * ROUNDING, 8 * ROUNDING)  # p and gamma are as given


@dataclass(frozen=True)
class KeepAll(Rule):
    """q = 1: no selection."""

    help = "all rows"

    def keep_probability(self, t: Any) -> Any:
        """1."""
        return np.ones(np.shape(t))

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """Those of `Random(1)`."""
        return Random(1.0).moments_with_errors(rho)

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """Those of `Random(1)`."""
        return Random(1.0).up_to_fourth(rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """The rule itself. Raises InputError unless p is 1."""
        require("keep", p, np.asarray(p) == 1, "be 1 for keep-all")
        return cls()

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of N(0, 1)."""
        return rng.standard_normal(size)


@dataclass(frozen=True)
class Random(Rule):
    """q = p, whatever t; 0 < p ≤ 1."""

    help = "a random fraction p of the rows"
    parameter = "keep"
    swept = True

    p: Real

    def __post_init__(self) -> None:
        kept_fraction(self.p)

    def keep_probability(self, t: Any) -> Any:
        """p, in the shape of t."""
        return self.p + np.zeros(np.shape(t))

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """Closed forms: p times the moments of all rows."""
        sine, _ = sin_tan(rho)
        p = np.asarray(self.p, float)
        return Moments(p, p, 2 * PDF0 * p * sine, 2 * PDF0 * p * rho), _ERRORS

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """Closed forms: p times the moments of all rows."""
        moments, errors = self.moments_with_errors(rho)
        p, _, beta, beta_tilde = moments
        cosine = np.square(rho)
        sine = 1 - cosine
        fourth = Fourth(3 * p, beta_tilde * (3 - cosine), beta * sine, beta_tilde * cosine, beta * (3 - sine))
        return moments, errors, fourth

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """The rule with that p. Raises InputError unless 0 < p ≤ 1."""
        return cls(p)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of N(0, 1): selection does not change their law."""
        return rng.standard_normal(size)


RULES.register("keep-all", KeepAll, place=3)
RULES.register("random", Random, place=4)
