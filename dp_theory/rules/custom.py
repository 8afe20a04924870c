"""Rules made of something else: any symmetric function, and direct draws of what a rule selects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dp_base.errors import InputError
from dp_theory.checks import Real, require
from dp_theory.rules.base import Moments, Rule


@dataclass(frozen=True)
class SymmetricRule(Rule):
    """Any symmetric q with values in [0, 1], called on positive t. Name in `breakpoints` the t > 0 where it jumps."""

    q: Callable[[np.ndarray], Any]
    breakpoints: tuple[float, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]  # a field here

    def _parameters(self) -> dict[str, Any]:
        return {}

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return self

    def keep_probability(self, t: Any) -> Any:
        q = np.asarray(self.q(np.abs(t)), float)
        require("q(t)", q, (q >= 0) & (q <= 1), "lie in [0, 1]: it is a probability")
        return q


@dataclass(frozen=True)
class Direct(Rule):
    """Rows drawn from the distribution that `rule` selects, all kept: the direct strategy. n counts these rows.

    The same learner as pruning a pool of n/p rows with `rule`, lam being p times as large there.
    """

    rule: Rule

    def _parameters(self) -> dict[str, Any]:
        return self.rule._parameters()

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return type(self)(self.rule._map(function))

    def keep_probability(self, t: Any) -> Any:
        raise InputError(f"direct draws from {self.rule} have no keep probability: they are not N(0, 1) to begin with")

    def moments(self, rho: Real) -> Moments:
        p, gamma, beta, beta_tilde = self.rule.moments(rho)
        return Moments(np.ones_like(p), gamma / p, beta / p, beta_tilde / p)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return self.rule.draw(rng, size)
