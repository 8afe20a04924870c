"""Rules made of something else: any symmetric function, and direct draws of what a rule selects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Float, Real, of_arrays, require_in, require_kind, set_breaks
from dp_theory.numerics.quadrature import pdf, refined
from dp_theory.rules.base import A_RULE, Fourth, Moments, Rule

# Edges of panels of 20 nodes; beyond, a row in 10¹⁵ lies.
_LOOKED_AT = np.linspace(0.0, 8.0, 513)


@dataclass(frozen=True)
class SymmetricRule(Rule):
    """Any symmetric function q.

    Quadrature looks for jumps and narrow features at nodes that are about .001 apart. Name breaks around a narrower
    one, lest it falls between them.

    Parameters
    ----------
    q
        Keep probability, in [0, 1]. It is called on arrays t ≥ 0.
    breaks
        The |t| at which q is not smooth.

    Raises
    ------
    InputError
        For breaks that are no sequence of numbers, and, once q is asked, for an answer that does not have the shape of
        t, or leaves [0, 1].
    """

    q: Callable[[np.ndarray], Any]
    breaks: Sequence[float] = ()

    def __post_init__(self) -> None:
        set_breaks(self)

    def parameters(self) -> dict[str, Real]:
        return {}

    def breakpoints(self) -> tuple[Real, ...]:
        return (*self.breaks, *_features(self.q, self.breaks))

    def keep_probability(self, t: Real) -> Real:
        q = of_arrays("q", self.q, np.abs(t))
        require_in("[0, 1]", "it is a probability", **{"q(t)": q})
        return q


@lru_cache(64)
def _features(q: Callable[[np.ndarray], Any], breaks: Sequence[float]) -> tuple[float, ...]:
    """Edges of finer panels, where the usual ones do not resolve q."""
    usual = np.unique(np.clip(np.abs([*_LOOKED_AT, *breaks]), 0.0, _LOOKED_AT[-1]))
    edges = refined(usual, lambda t: pdf(t) * of_arrays("q", q, t)[None], 20)
    finer = np.setdiff1d(edges, usual)
    after = usual.searchsorted(finer)
    return tuple(np.unique([*finer, *usual[after - 1], *usual[after]]).tolist())


@dataclass(frozen=True)
class Direct(Rule):
    """Rows drawn from the distribution that `rule` selects, all of them kept: the direct strategy.

    n counts these rows. The learner is the same as with `rule` on a pool of n/p rows, where lam is p times as large.

    Parameters
    ----------
    rule
        The rule, whose parameters may be arrays.

    Raises
    ------
    InputError
        For what is no rule.
    """

    rule: Rule

    def __post_init__(self) -> None:
        require_kind("rule", self.rule, Rule, A_RULE)

    def parameters(self) -> dict[str, Real]:
        return self.rule.parameters()

    def map(self, function: Callable[[Any], Any]) -> Self:
        return type(self)(self.rule.map(function))

    def breakpoints(self) -> tuple[Real, ...]:
        return self.rule.breakpoints()

    def keep_probability(self, t: Real) -> Real:
        raise InputError(
            f"direct draws have no keep probability: give {self.rule} itself, and 1/p times as many rows where "
            "candidates are counted, not kept rows"
        )

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        moments, errors = self.rule.moments_with_errors(rho)
        return _per_kept_row(moments, errors)

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        moments, errors, fourth = self.rule.up_to_fourth(rho)
        return *_per_kept_row(moments, errors), fourth.per_kept_row(moments.p)

    def draw(self, rng: np.random.Generator, size: int) -> Float[Array, " size"]:
        return self.rule.draw(rng, size)


def _per_kept_row(moments: Moments, errors: Moments) -> tuple[Moments, Moments]:
    return moments.per_kept_row(), Moments(np.zeros_like(errors.p), *(error + errors.p for error in errors[1:]))
