"""The span recipe for any convex loss, logistic regression above all (ours).

With θ = Σ^½ŵ the score of a kept row is g·a + σZ, Z ~ N(0, 1), by a learner that left the row out. With the row, it is
h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ (T4.2). By (T4.3) and (T4.4), then,

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread·E[f²]

with δ, K, leak and spread of `dp_theory.span.bulk.Bulk` at the curvature t. For Σ = I, K = m = 1/(λ + t), spread = φm²,
and leak = 0. The square loss gives back dp_theory.span.square. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao
and Couillet 2019.

docs/theory/convex-losses.md derives them. The unknowns are x = (a, ln σ, ln δ), k + 2 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array
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
_SOLVED = 1e-11  # largest excess at which the iteration ends
_MISSED = 1e-10  # largest excess of a solution
_BROYDEN_STEPS = 8  # from the solution at the order before
_NUDGE = 1e-6  # of the unknowns, for derivatives
_LARGE_RIDGE = 0.1  # at which a solution is found from anywhere, after so many steps of damped iteration:
_DAMPED_STEPS = 20


def predict_convex(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under its loss.

    lam = 0 is the limit λ → 0+. For a loss with `margin` (dp_theory.span.losses) whose kept rows are separable, the
    direction is that of the max-margin solution, and overlap and squared_norm are infinite.

    Parameters
    ----------
    problem
        The problem. Its parameters broadcast.
    tolerance
        Largest relative error that quadrature may leave, by default 1e-8.

    Raises
    ------
    InputError
        If no row is kept.
    ConvergenceError
        If the quadrature misses the tolerance, and where the fixed point is not found. The message names phi, lam and
        the residual.
    """
    return certified(problem, _solve, _ORDERS, tolerance=_TOLERANCE if tolerance is None else tolerance)


@dataclass(frozen=True)
class _ConvexSolution(Solution):
    """The solution of `cell`, whose loss and ridge may be those of a limit; what finds it again at another order."""

    cell: SpanCell
    unknowns: Array
    excess: Array  # by which the unknowns miss their equations
    jacobian: Array  # of the equations in the unknowns

    def errors(self) -> tuple[float, float]:
        """By the inverse of the Jacobian."""
        k = len(self.a)
        missed = np.abs(self.excess) + EXPECTATION * (1 + np.abs(self.unknowns))
        moved = np.abs(np.linalg.inv(self.jacobian)) @ missed
        return float(np.linalg.norm(moved[:k])), 2 * self.variance * float(moved[k])


def _solve(cell: SpanCell, order: int, rows: Sequence[Weighed], previous: Solution | None) -> Solution:
    """The solution of a scalar problem, in the limit of its own if lam = 0."""
    if isinstance(previous, _ConvexSolution):
        return _solve_from(previous, order)
    *limits, own = (replace(cell, loss=loss, lam=lam) for loss, lam in candidate_limits(cell.loss, cell.lam))
    for limit in limits:
        with suppress(ConvergenceError):  # no margin: the rows are not separable
            return _solve_from_afar(limit, order)
    return _solve_from_afar(own, order)


def _solve_from(previous: _ConvexSolution, order: int) -> _ConvexSolution:
    """The solution at another order, by a few steps of Broyden's method from the one before.

    Where they do not lead there, Powell's method begins from where they end.
    """
    cell = previous.cell
    x = previous.unknowns
    jacobian = previous.jacobian
    excess = _excess(cell, order, x, cell.lam)
    for _ in range(_BROYDEN_STEPS):
        step = -np.linalg.solve(jacobian, excess)
        if np.abs(step).max() > 1:
            break
        before = excess
        x = x + step
        excess = _excess(cell, order, x, cell.lam)
        jacobian = jacobian + np.outer(excess, step) / (step @ step)  # it misses excess - before by excess
        if np.abs(excess).max() <= _SOLVED or np.abs(excess).max() > np.abs(before).max() / 2:
            break
    if not np.abs(excess).max() <= _SOLVED:
        x = _follow(cell, order, x, [cell.lam])
        excess = _excess(cell, order, x, cell.lam)
        jacobian = _jacobian(cell, order, x, excess)
    return _solution(cell, x, excess, jacobian)


def _solve_from_afar(cell: SpanCell, order: int) -> _ConvexSolution:
    """The solution where nothing is known of it.

    Damped iteration brings Powell's method near at a large ridge. The ridge then falls at once, or if that fails, in
    steps.
    """
    x = _unknowns_afar(cell)
    excess = _excess(cell, order, x, cell.lam)
    jacobian = np.eye(len(x))
    if not np.abs(excess).max() <= _SOLVED:
        if 0 < cell.lam < _LARGE_RIDGE:
            near = _iterate(cell, order, x, _LARGE_RIDGE)
            try:
                x = _follow(cell, order, near, [_LARGE_RIDGE, cell.lam])
            except ConvergenceError:
                steps = 2 + int(np.log(_LARGE_RIDGE / cell.lam))
                x = _follow(cell, order, near, np.geomspace(_LARGE_RIDGE, cell.lam, steps).tolist())
        else:
            x = _follow(cell, order, _iterate(cell, order, x, cell.lam), [cell.lam])
        excess = _excess(cell, order, x, cell.lam)
        jacobian = _jacobian(cell, order, x, excess)
    return _solution(cell, x, excess, jacobian)


def _unknowns_afar(cell: SpanCell) -> Array:
    """Unknowns to begin from where nothing is known."""
    return np.append(np.full(cell.problem.basis.shape[1], 1e-3), [-1.0, np.log(cell.phi)])


def _iterate(cell: SpanCell, order: int, x: Array, lam: float) -> Array:
    """The unknowns after some steps of damped iteration at this ridge."""
    for _ in range(_DAMPED_STEPS):
        x = x + _excess(cell, order, x, lam) / 2
    return x


def _follow(cell: SpanCell, order: int, x: Array, ridges: Sequence[float]) -> Array:
    """The unknowns at the last of the ridges, by Powell's method at each of them from those at the ridge before.

    Raises ConvergenceError where the last ones miss the equations of the cell.
    """
    from scipy.optimize import root

    def excess(unknowns: Array, lam: float) -> Array:
        return _excess(cell, order, unknowns, lam)

    for lam in ridges:
        x = root(excess, x, (lam,), method="hybr", options={"xtol": 1e-13}).x
    _residual(cell, excess(x, cell.lam))
    return x


def _jacobian(cell: SpanCell, order: int, x: Array, excess: Array) -> Array:
    """Derivatives of the excess in the unknowns, by differences."""
    steps = _NUDGE * np.eye(len(x))
    return np.column_stack([(_excess(cell, order, x + step, cell.lam) - excess) / _NUDGE for step in steps])


def _solution(cell: SpanCell, x: Array, excess: Array, jacobian: Array) -> _ConvexSolution:
    return _ConvexSolution(
        a=x[:-2],
        variance=float(np.exp(2 * x[-2])),
        residual=_residual(cell, excess),
        endless=cell.loss == HARD_MARGIN,
        cell=cell,
        unknowns=x,
        excess=excess,
        jacobian=jacobian,
    )


def _residual(cell: SpanCell, excess: Array) -> float:
    """By how much the fixed point is missed. Raises ConvergenceError where that is more than rounding."""
    residual = float(np.abs(excess).max())
    if not residual <= _MISSED:
        raise ConvergenceError(
            f"phi = {cell.phi:g}, lam = {cell.lam:g}, {cell.loss}: the fixed point is missed by {residual:.1e}"
        )
    return residual


def _excess(cell: SpanCell, order: int, unknowns: Array, lam: float) -> Array:
    """The fixed-point map's image less the unknowns, at a ridge that may differ from the cell's."""
    problem = cell.problem
    k = problem.basis.shape[1]
    if not np.abs(unknowns[k:]).max() < FARTHEST:
        raise ConvergenceError(
            f"phi = {cell.phi:g}, lam = {lam:g}, {cell.loss}: |θ| runs away, beyond exp({FARTHEST:g}): without ridge it"
            " does where the kept rows are separable"
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
    bulk = Bulk.of(problem, t, cell.phi, lam)
    variance = bulk.leak(a) + bulk.spread * force
    return np.concatenate([bulk.inside @ (pull + t * a), [np.log(variance) / 2, np.log(bulk.delta)]]) - unknowns
