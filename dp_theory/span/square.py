"""The span recipe for the square loss: one monotone scalar root, then linear algebra in the span (ours).

With q̃ = q/(1 + qδ), A = E[q̃ g gᵀ] and c = E[q̃ y g], and Σ = I for clarity, (T2.9):

    a = (λI + A)^-1 c        σ² = φm² E[q̃² (y − g·a)²] / (1 − φm² E[q̃²])        m = 1/(λ + E[q̃]),  δ = φm

which is Theorem 1 for one group and a rule of 0 and 1. As λ → 0 with fewer kept rows than columns, δ → ∞ like 1/λ and
q̃ → 1[q > 0]/δ: the weights drop out. In units of λ this is the same recipe at λ = 1 (T2.10). docs/theory/span.md
derives all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed
from dp_theory.span.bulk import Bulk, solve_delta
from dp_theory.span.certificate import EXPECTATION, Solution, certified
from dp_theory.span.span_problem import SpanCell, SpanProblem

_ORDERS = (16, 32, 64, 128, 256)
_ORDERS_OF_SEVERAL = (8, 12, 18, 27, 40, 60, 90, 128)  # where a rule sees several directions
_TOLERANCE = 1e-9
_AT_THE_PEAK = 1e-12  # relative distance of the kept fraction from φ below which the norm counts as infinite
_NUDGE = 1e-6  # of ln δ, for a derivative


def predict_square(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under the square loss, whatever its `loss` says.

    Quadrature may leave the relative error `tolerance`, by default 1e-9: else ConvergenceError. Raises InputError if no
    row is kept.
    """
    several = max(len(problem.directions(group)[1]) for group in problem.groups) > 1
    orders = _ORDERS_OF_SEVERAL if several else _ORDERS
    return certified(problem, _solve, orders, tolerance=_TOLERANCE if tolerance is None else tolerance)


def _solve(cell: SpanCell, order: int, rows: Sequence[Weighed], previous: Solution | None) -> Solution:
    kept, c, second = _moments(rows, [np.ones_like(r.q) for r in rows])
    if cell.lam == 0 and abs(kept / cell.phi - 1) < _AT_THE_PEAK:
        return _AtThePeak(np.linalg.solve(second, c), np.inf, 0.0)
    ridgeless = cell.lam == 0 and kept < cell.phi
    equations = _SquareEquations(cell.problem, rows, cell.phi, 1.0 if ridgeless else cell.lam, ridgeless)
    delta, residual = solve_delta(cell.problem.eigenvalues, equations.phi, equations.lam, equations.mean_weight)
    here = equations.evaluate(delta)
    return _SquareSolution(here.a, here.variance, residual, equations=equations, delta=delta, here=here)


@dataclass(frozen=True)
class _AtThePeak(Solution):
    """The ridgeless limit where φ is the kept fraction: σ² is infinite."""

    def errors(self) -> tuple[float, float]:
        return np.inf, np.inf


@dataclass(frozen=True)
class _SquareSolution(Solution):
    """The solution at the root δ of its equations."""

    equations: _SquareEquations
    delta: float
    here: _Evaluation

    def errors(self) -> tuple[float, float]:
        here = self.here
        nudged = self.equations.evaluate(self.delta * np.exp(_NUDGE))
        steps = (self.residual + EXPECTATION) / here.gap / _NUDGE  # of ln δ: the gap is its equation's derivative
        of_a = float(np.linalg.norm(nudged.a - here.a)) * steps + here.error
        of_misfit = here.slope * here.error + EXPECTATION * here.scale
        of_variance = (here.factor * of_misfit + EXPECTATION * here.variance) / here.gap
        return of_a, abs(nudged.variance - here.variance) * steps + of_variance


class _Evaluation(NamedTuple):
    """a of (T2.6) and σ² = (leak + factor·misfit)/gap of (T2.7) at some δ, and how they take rounding.

    The misfit is E[q̃² (y − g·a)²].
    """

    a: Array
    variance: float
    gap: float
    factor: float
    error: float  # of a, by rounding of its linear equations
    slope: float  # of the misfit in a
    scale: float  # of the terms of the misfit


@dataclass(frozen=True)
class _SquareEquations:
    """The equations of the module's head for a scalar problem, as functions of δ."""

    problem: SpanProblem
    rows: Sequence[Weighed]  # of each group
    phi: float
    lam: float
    ridgeless: bool  # whether λ → 0 with fewer kept rows than columns, in units of λ

    def softened(self, delta: float) -> list[Array]:
        if self.ridgeless:
            return [np.full_like(rows.q, 1 / delta) for rows in self.rows]
        return [rows.q / (1 + rows.q * delta) for rows in self.rows]

    def mean_weight(self, delta: float) -> float:
        return sum(rows.mean(f) for rows, f in zip(self.rows, self.softened(delta), strict=True))

    def evaluate(self, delta: float) -> _Evaluation:
        weights = self.softened(delta)
        t, c, second = _moments(self.rows, weights)
        bulk = Bulk.of(self.problem, t, self.phi, self.lam)
        matrix = bulk.shrink + bulk.inside @ second
        a = np.linalg.solve(matrix, bulk.inside @ c)
        t2, c2, second2 = _moments(self.rows, [f * f for f in weights])
        gap = 1 - bulk.spread * t2
        terms = (t2, float(-2 * a @ c2), float(a @ second2 @ a))
        size = float(np.linalg.norm(a))
        return _Evaluation(
            a=a,
            variance=float(bulk.leak(a) + bulk.spread * sum(terms)) / gap,
            gap=gap,
            factor=bulk.spread,
            error=EXPECTATION * float(np.linalg.cond(matrix)) * size,
            slope=2 * float(np.linalg.norm(second2 @ a - c2)),
            scale=sum(map(abs, terms)),
        )


def _moments(rows: Sequence[Weighed], values: Sequence[Array]) -> tuple[float, Array, Array]:
    """E[f], E[f y g] (k,), E[f g gᵀ] (k, k) over all groups, one f for each distinct weight."""
    parts = [(r.mean(f), r.linear(f), r.quadratic(f)) for r, f in zip(rows, values, strict=True)]
    mean, linear, quadratic = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return mean, linear, quadratic
