"""Selection that looks at nothing: a random share of the rows, or all of them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dp_theory.checks import Real, require
from dp_theory.quadrature import PDF0
from dp_theory.rules.base import Moments, Rule, kept_fraction, sin_tan


@dataclass(frozen=True)
class Random(Rule):
    """q = p, whatever t."""

    p: Real

    def __post_init__(self) -> None:
        kept_fraction(self.p)

    def keep_probability(self, t: Any) -> Any:
        return np.full(np.shape(t), self.p)

    def moments(self, rho: Real) -> Moments:
        sine, _ = sin_tan(rho)
        p = np.asarray(self.p, float)
        return Moments(p, p, 2 * PDF0 * p * sine, 2 * PDF0 * p * rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(p)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.standard_normal(size)


@dataclass(frozen=True)
class KeepAll(Rule):
    """q = 1: no selection."""

    def keep_probability(self, t: Any) -> Any:
        return np.ones(np.shape(t))

    def moments(self, rho: Real) -> Moments:
        return Random(1.0).moments(rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        require("keep", p, np.asarray(p) == 1, "be 1 for keep-all")
        return cls()

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.standard_normal(size)
