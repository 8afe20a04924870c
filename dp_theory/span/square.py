"""The span recipe for the square loss: one monotone scalar root, then linear algebra in the span (ours).

With q̃ = q/(1 + qδ), A = E[q̃ g gᵀ], c = E[q̃ y g], and Σ = I for clarity,

    a = (λI + A)^-1 c        σ² = φm² E[q̃² (y − g·a)²] / (1 − φm² E[q̃²])        m = 1/(λ + E[q̃]),  δ = φm

which is Theorem 1 for one group and a rule of 0 and 1. As λ → 0 with fewer kept rows than columns, δ → ∞ like 1/λ and
q̃ → 1[q > 0]/δ: the weights drop out. In units of λ this is the same recipe at λ = 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed
from dp_theory.span.bulk import Bulk, Solution, solve_delta
from dp_theory.span.certificate import EXPECTATION, certified
from dp_theory.span.span_problem import SpanProblem

_NUDGE = 1e-6  # of ln δ, for a derivative


def predict_square(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under the square loss, whatever its `loss` says; everything else as in `dp_theory.predict`.

    Raises InputError if no row is kept, ConvergenceError if the quadrature misses `tolerance`, by default 1e-9.
    """
    several = max(len(problem.directions(group)[1]) for group in problem.groups) > 1
    orders = (8, 12, 18, 27, 40, 60, 90, 128) if several else (16, 32, 64, 128, 256)
    return certified(problem, _solve, orders, tolerance=1e-9 if tolerance is None else tolerance)


def _solve(problem: SpanProblem, order: int, rows: Sequence[Weighed]) -> Solution:
    """The fixed point of a scalar problem."""
    phi, lam = problem.phi, problem.lam
    kept, c, second = _moments(rows, [np.ones_like(r.q) for r in rows])
    if lam == 0 and abs(kept / phi - 1) < 1e-12:  # the peak, where the norm diverges
        return Solution(np.linalg.solve(second, c), np.inf, 0.0, lambda: (np.inf, np.inf))
    ridgeless = lam == 0 and kept < phi
    lam = 1.0 if ridgeless else lam

    def softened(delta: float) -> list[Array]:
        return [np.full_like(r.q, 1 / delta) if ridgeless else r.q / (1 + r.q * delta) for r in rows]

    def mean_weight(delta: float) -> float:
        return sum(r.mean(f) for r, f in zip(rows, softened(delta), strict=True))

    def at(delta: float) -> _At:
        return _at(problem, rows, softened(delta), phi, lam)

    delta, residual = solve_delta(problem.eigenvalues, phi, lam, mean_weight)
    here = at(delta)

    def errors() -> tuple[float, float]:
        nudged = at(delta * np.exp(_NUDGE))
        steps = (residual + EXPECTATION) / here.gap / _NUDGE  # of ln δ: the gap is the derivative of its equation
        of_a = float(np.linalg.norm(nudged.a - here.a)) * steps + here.error
        of_misfit = here.slope * here.error + EXPECTATION * here.scale
        of_variance = (here.factor * of_misfit + EXPECTATION * here.variance) / here.gap
        return of_a, abs(nudged.variance - here.variance) * steps + of_variance

    return Solution(here.a, here.variance, residual, errors)


class _At(NamedTuple):
    """a and σ² = (leak + factor·misfit)/gap at some δ, with misfit = E[q̃² (y − g·a)²], and how they take rounding."""

    a: Array
    variance: float
    gap: float
    factor: float
    error: float  # of a, by rounding of its linear equations
    slope: float  # of the misfit in a
    scale: float  # of the terms of the misfit


def _at(problem: SpanProblem, rows: Sequence[Weighed], weights: Sequence[Array], phi: float, lam: float) -> _At:
    """At the δ that makes these weights q̃, one per distinct weight."""
    t, c, second = _moments(rows, weights)
    bulk = Bulk.of(problem, t, phi, lam)
    matrix = bulk.shrink + bulk.inside @ second
    a = np.linalg.solve(matrix, bulk.inside @ c)
    t2, c2, second2 = _moments(rows, [f * f for f in weights])
    gap = 1 - bulk.spread * t2
    terms = t2, float(-2 * a @ c2), float(a @ second2 @ a)
    size = float(np.linalg.norm(a))
    return _At(
        a=a,
        variance=float(bulk.leak(a) + bulk.spread * sum(terms)) / gap,
        gap=gap,
        factor=bulk.spread,
        error=EXPECTATION * float(np.linalg.cond(matrix)) * size,
        slope=2 * float(np.linalg.norm(second2 @ a - c2)),
        scale=sum(map(abs, terms)),
    )


def _moments(rows: Sequence[Weighed], values: Sequence[Array]) -> tuple[float, Array, Array]:
    """E[f], E[f y g] (k,), E[f g gᵀ] (k, k) over all groups, one f per distinct weight."""
    parts = [(r.mean(f), r.linear(f), r.quadratic(f)) for r, f in zip(rows, values, strict=True)]
    mean, linear, quadratic = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return mean, linear, quadratic
