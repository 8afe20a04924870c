"""Problems, predictions and simulations.

Conventions, everywhere in the package (paper, section 4)

data            x ~ N(0, I_d), y = sign(w0·x) in {-1, +1}
selection       t = x·w_s with |w_s| = 1. A row is kept with probability q(t), and q is symmetric.
rho             cos(w_s, w0), in [-1, 1]
phi             d/n, the aspect ratio. n counts the rows of the *pool*, kept or not.
lam             the ridge: w_hat = argmin (1/2n) Σ q_i (w·x_i - y_i)² + (lam/2)|w|². Again n counts the pool.
                lam = 0 is the limit lam → 0+.
test_error      P(sign(w_hat·x) ≠ y) = angle(w_hat, w0)/π
overlap         w_hat·w0/|w0|
squared_norm    |w_hat|²

Every parameter may be an array. Arrays broadcast.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    Array,
    ByValue,
    Real,
    clipped,
    common_shape,
    require_in,
    require_kind,
    require_positive,
    require_ridge,
)
from dp_theory.rules import Rule
from dp_theory.rules.base import A_RULE

if TYPE_CHECKING:
    from dp_theory.outcomes import Prediction, Simulation
    from dp_theory.ridge.finite_dimension import FinitePrediction


class Experiments(NamedTuple):
    """What `simulate` is asked for."""

    d: int | None
    trials: int
    engine: str
    seed: int
    workers: int | None


class AnyProblem(ByValue):
    """What `predict` and `simulate` ask for an answer, by `solve` and `draw`."""

    engines: ClassVar[tuple[str, ...]] = ("dense",)

    def solve_at(self, d: int, tolerance: float | None) -> Any:
        raise InputError(f"d is for a Problem: a {type(self).__name__} has no theory at finite dimension")


@dataclass(frozen=True)
class Problem(AnyProblem):
    """Ridge regression on selected rows, for `predict` and `simulate` alike.

    Parameters
    ----------
    rule
        The selection rule q. Its parameters may be arrays.
    rho
        Cosine between the selector w_s and the truth w0, in [-1, 1].
    phi
        Aspect ratio d/n, n the rows of the pool.
    lam
        Ridge per row of the pool. 0 is the ridgeless limit.

    Raises
    ------
    InputError
        Where |rho| > 1, phi ≤ 0 or lam < 0, for nan and inf, for values that are no numbers, and for shapes that do
        not broadcast.

    Examples
    --------
    >>> from dp_theory import KeepHard, Problem, predict
    >>> prediction = predict(Problem(KeepHard(0.8), rho=0.5, phi=0.5, lam=0.01))
    >>> round(float(prediction.test_error), 4)
    0.2934
    """

    engines = ("dense", "law")

    rule: Rule
    rho: Real
    phi: Real
    lam: Real

    def __post_init__(self) -> None:
        require_kind("rule", self.rule, Rule, A_RULE)
        require_in("[-1, 1]", "it is cos(w_s, w0)", rho=self.rho)
        object.__setattr__(self, "rho", clipped(self.rho))
        require_positive("it is d/n, n the size of the pool", phi=self.phi)
        require_ridge(lam=self.lam)
        self.shape  # noqa: B018 (raises where shapes do not broadcast)

    @property
    def shape(self) -> tuple[int, ...]:
        return common_shape(**self.rule.parameters(), rho=self.rho, phi=self.phi, lam=self.lam)

    def cells(self) -> "Iterator[Problem]":
        numbers = [np.broadcast_to(x, self.shape) for x in (self.rho, self.phi, self.lam)]
        for index in np.ndindex(self.shape):
            yield Problem(self.rule.at(index, self.shape), *(float(x[index]) for x in numbers))

    def blocks(self, size: int, phi: Real = None) -> Iterator[tuple[slice, Rule, Array, Array, Array]]:
        """The cells in C order, so many at a time: their places, and rule, rho, phi (perhaps another one) and lam."""

        def flat(x: Any) -> Array:
            return np.broadcast_to(np.asarray(x, float), self.shape).reshape(-1)

        rule = self.rule.map(flat)
        rho, phi, lam = (flat(x) for x in (self.rho, self.phi if phi is None else phi, self.lam))
        for start in range(0, len(rho), size):
            cells = slice(start, start + size)
            yield cells, rule.map(itemgetter(cells)), rho[cells], phi[cells], lam[cells]

    def solve(self, tolerance: float | None) -> "Prediction":
        from dp_theory.ridge.theorem1 import predict_theorem1

        return predict_theorem1(self, tolerance=tolerance)

    def solve_at(self, d: int, tolerance: float | None) -> "FinitePrediction":
        from dp_theory.ridge.finite_dimension import predict_finite

        return predict_finite(self, d, tolerance=tolerance)

    def draw(self, experiments: Experiments) -> "Simulation":
        from dp_theory.ridge.simulators.dense import simulate_problem

        return simulate_problem(self, *experiments)
