"""The span recipe for any convex loss, logistic regression above all (ours).

With θ = Σ^½ŵ the score of a kept row is g·a + σZ, Z ~ N(0, 1), by a learner that left the row out. With the row, it is
h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ (T4.2). By (T4.3) and (T4.4), then,

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread·E[f²]

with δ, K, leak and spread of `dp_theory.span.bulk.Bulk` at the curvature t. For Σ = I, K = m = 1/(λ + t), spread = φm²,
and leak = 0. The square loss gives back dp_theory.span.square. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao
and Couillet 2019.

docs/theory/span.md derives them. The unknowns are x = (a, ln σ, ln δ), k + 2 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array
from dp_theory.numerics.fixed_point import fixed_point
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed, kept_atoms
from dp_theory.span.bulk import Bulk
from dp_theory.span.certificate import EXPECTATION, Solution, certified
from dp_theory.span.losses import HARD_MARGIN, candidate_limits
from dp_theory.span.span_problem import SpanCell, SpanProblem

NEGLIGIBLE = 1e-14  # mass of an atom, over the largest of its block: the tails of several directions are many
FARTHEST = 100.0  # |ln σ| and |ln δ| from which no solution is looked for
_ORDERS = (4, 8, 11, 14, 18, 22, 27, 32, 39, 46, 55, 64)
_TOLERANCE = 1e-8
_SOLVED = 1e-12  # largest excess at which the iteration ends
_MISSED = 1e-10  # largest excess of a solution
_STEPS = 30  # of a search
_PART = 0.5  # of the way to the fixed-point map's image
_NUDGE = 1e-6  # of the unknowns, for derivatives
_LARGE_RIDGE = 1.0  # from which the ridge falls, where a solution is not found at once, to
_LEAST_RIDGE = 1e-6  # this or the cell's own,
_RIDGES = 13  # by so many steps


def predict_convex(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under its loss; quadrature may leave the relative error `tolerance`, by default 1e-8.

    lam = 0 is the limit λ → 0+. For a loss with `margin` whose kept rows are separable, the direction is that of the
    max-margin solution, and overlap and squared_norm are infinite. Raises InputError if no row is kept;
    ConvergenceError if the quadrature misses the tolerance, and where the fixed point is not found.
    """
    return certified(problem, _solve, _ORDERS, tolerance=_TOLERANCE if tolerance is None else tolerance)


@dataclass(frozen=True)
class _ConvexSolution(Solution):
    """The solution of `cell`, whose loss and ridge may be those of a limit, at one order of quadrature."""

    cell: SpanCell
    order: int
    unknowns: Array
    excess: Array  # by which the unknowns miss their equations

    def errors(self) -> tuple[float, float]:
        k = len(self.a)
        steps = _NUDGE * np.eye(len(self.unknowns))
        nudged = [_excess(self.cell, self.order, self.unknowns + step) for step in steps]
        jacobian = (np.array(nudged) - self.excess).T / _NUDGE
        missed = np.abs(self.excess) + EXPECTATION * (1 + np.abs(self.unknowns))
        moved = np.abs(np.linalg.inv(jacobian)) @ missed
        return float(np.linalg.norm(moved[:k])), 2 * self.variance * float(moved[k])


def _solve(cell: SpanCell, order: int, rows: Sequence[Weighed], previous: Solution | None) -> Solution:
    if isinstance(previous, _ConvexSolution):
        return _found(previous.cell, order, previous.unknowns)
    afar = np.append(np.full(cell.problem.basis.shape[1], 1e-3), [-1.0, np.log(cell.phi)])
    candidates = [replace(cell, loss=loss, lam=lam) for loss, lam in candidate_limits(cell.loss, cell.lam)]
    for candidate in candidates:
        with suppress(ConvergenceError):  # no margin, where the rows are not separable
            return _found(candidate, order, afar)
    x = afar
    for lam in np.geomspace(_LARGE_RIDGE, max(cell.lam, _LEAST_RIDGE), _RIDGES):
        with suppress(ConvergenceError):
            x = _found(replace(cell, lam=float(lam)), order, x).unknowns
    return _found(cell, order, x)


def _found(cell: SpanCell, order: int, start: Array) -> _ConvexSolution:
    def move(x: Array) -> tuple[Array, float]:
        try:
            with np.errstate(all="raise", under="ignore"):
                excess = _excess(cell, order, x)
        except (ConvergenceError, FloatingPointError):
            return np.zeros_like(x), np.inf
        return _PART * excess, float(np.abs(excess).max())

    x, _ = fixed_point(move, start, _SOLVED, _STEPS, _MISSED)
    excess = _excess(cell, order, x)
    return _ConvexSolution(
        a=x[:-2],
        variance=float(np.exp(2 * x[-2])),
        residual=_residual(cell, excess),
        endless=cell.loss == HARD_MARGIN,
        cell=cell,
        order=order,
        unknowns=x,
        excess=excess,
    )


def _residual(cell: SpanCell, excess: Array) -> float:
    """By how much the fixed point is missed. Raises ConvergenceError where that is more than rounding."""
    residual = float(np.abs(excess).max())
    if not residual <= _MISSED:
        raise ConvergenceError(
            f"phi = {cell.phi:g}, lam = {cell.lam:g}, {cell.loss}: the fixed point is missed by {residual:.1e}"
        )
    return residual


def _excess(cell: SpanCell, order: int, unknowns: Array) -> Array:
    problem = cell.problem
    k = problem.basis.shape[1]
    if not np.abs(unknowns[k:]).max() < FARTHEST:
        raise ConvergenceError(
            f"phi = {cell.phi:g}, lam = {cell.lam:g}, {cell.loss}: |θ| runs away, beyond exp({FARTHEST:g}): without"
            " ridge it does where the kept rows are separable"
        )
    a = unknowns[:k]
    sigma, delta = np.exp(unknowns[k:]).tolist()
    score = np.append(a, sigma)
    length = float(np.linalg.norm(score))
    bends = [(at / length, width / length) for at, width in cell.loss.bends(delta)]
    t = 0.0
    pull = np.zeros(k)
    force = 0.0
    for group in cell.groups:
        for atoms in kept_atoms(problem, group, order, score / length, bends, NEGLIGIBLE):
            f, bend = cell.loss.answer(score @ atoms.frame[:, :-1] @ atoms.t, atoms.y, atoms.q, delta)
            t += atoms.mean(bend)
            pull += atoms.linear(f)[:k]
            force += atoms.mean(f * f)
    bulk = Bulk.of(problem, t, cell.phi, cell.lam)
    variance = bulk.leak(a) + bulk.spread * force
    return np.concatenate([bulk.inside @ (pull + t * a), [np.log(variance) / 2, np.log(bulk.delta)]]) - unknowns
