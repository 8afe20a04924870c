"""The span recipe for any convex loss, logistic regression above all (ours).

With θ = Σ^½ŵ a kept row's score is g·a + σZ, Z ~ N(0, 1), once the row itself is left out; with it, the score is
h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ. Then

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread · E[f²]

with δ, K, leak and spread of `dp_theory.span.bulk.Bulk` at curvature t (Σ = I: K = m = 1/(λ + t), spread = φm²,
leak = 0). The square loss gives back dp_theory.span.square. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao and
Couillet 2019.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array
from dp_theory.problem import Prediction
from dp_theory.span.atoms import Weighed, kept_atoms
from dp_theory.span.bulk import Bulk, Solution
from dp_theory.span.certificate import EXPECTATION, certified
from dp_theory.span.losses import HARD_MARGIN, limits
from dp_theory.span.problem import SpanProblem

NEGLIGIBLE = 1e-14  # mass of an atom, over the largest of its block: the tails of several directions are many
FARTHEST = 100.0  # |ln σ| and |ln δ| from which no solution is looked for
_NUDGE = 1e-6  # of the unknowns, for derivatives
_MUCH = 0.1  # ridge at which a solution is found from anywhere


class Known(NamedTuple):
    """A problem that was solved, its unknowns and the Jacobian of their equations."""

    problem: SpanProblem
    unknowns: Array
    jacobian: Array


def predict_convex(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under its loss; everything else as in `dp_theory.predict`.

    lam = 0 is the limit λ → 0+: for a loss with `margin` (dp_theory.span.losses) whose kept rows are separable, the
    direction is that of the max-margin solution, overlap and squared_norm are infinite.

    Raises InputError if no row is kept, ConvergenceError if the quadrature misses `tolerance`, by default 1e-8, and
    where the fixed point is not found, naming phi, lam and the residual.
    """
    known: dict[SpanProblem, Known] = {}  # from the order before

    def solve(cell: SpanProblem, order: int, rows: Sequence[Weighed]) -> Solution:
        solution, known[cell] = _solved(cell, order, known.get(cell))
        return solution

    orders = (4, 8, 14, 22, 32, 46, 64)
    return certified(problem, solve, orders, tolerance=1e-8 if tolerance is None else tolerance)


def _solved(cell: SpanProblem, order: int, known: Known | None) -> tuple[Solution, Known]:
    """The solution of a scalar problem, in the limit of its own if lam = 0."""
    assert isinstance(cell.lam, float), "cells are scalar"
    if known is not None:
        return _fixed_point(known.problem, order, known)
    *widest, own = (replace(cell, loss=loss, lam=lam) for loss, lam in limits(cell.loss, cell.lam))
    for problem in widest:
        with suppress(ConvergenceError):  # no margin: the rows are not separable
            return _fixed_point(problem, order, None)
    return _fixed_point(own, order, None)


def _fixed_point(problem: SpanProblem, order: int, known: Known | None) -> tuple[Solution, Known]:
    """The solution of a scalar problem; the unknowns (a, ln σ, ln δ) behind it, and their equations' Jacobian.

    known: the latter at the order before, from which a few Newton steps lead here. From afar, damped iteration brings
    Powell's method near at a large ridge, which then falls.
    """
    from scipy.optimize import root

    k = problem.basis.shape[1]

    def excess(unknowns: Array, lam: float = problem.lam) -> Array:
        return _excess(problem, order, unknowns, lam)

    x, jacobian = (known.unknowns, known.jacobian) if known else (_afar(problem), np.eye(k + 2))
    off = excess(x)
    if known:
        for _ in range(8):
            step = np.linalg.solve(jacobian, off)
            if np.abs(step).max() > 1:
                break
            x, before, off = x - step, off, excess(x - step)
            if np.abs(off).max() <= 1e-12 or np.abs(off).max() > np.abs(before).max() / 2:
                break
    if not np.abs(off).max() <= 1e-11:
        path = [problem.lam]
        if not known and 0 < problem.lam < _MUCH:
            path = np.geomspace(_MUCH, problem.lam, 2 + int(np.log(_MUCH / problem.lam))).tolist()
        for _ in range(0 if known else 20):
            x = x + excess(x, path[0]) / 2
        for lam in path:
            x = root(excess, x, (lam,), method="hybr", options={"xtol": 1e-13}).x
        off = excess(x)
        steps = _NUDGE * np.eye(len(x))
        jacobian = np.column_stack([(excess(x + step) - off) / _NUDGE for step in steps])
    residual = np.abs(off).max()
    if not residual <= 1e-10:
        raise ConvergenceError(
            f"phi = {problem.phi:g}, lam = {problem.lam:g}, {problem.loss}: the fixed point is missed by {residual:.1e}"
        )
    variance = float(np.exp(2 * x[-2]))

    def errors() -> tuple[float, float]:
        missed = np.abs(off) + EXPECTATION * (1 + np.abs(x))
        moved = np.abs(np.linalg.inv(jacobian)) @ missed
        return float(np.linalg.norm(moved[:k])), 2 * variance * float(moved[k])

    solution = Solution(x[:k], variance, residual, errors, endless=problem.loss == HARD_MARGIN)
    return solution, Known(problem, x, jacobian)


def _afar(problem: SpanProblem) -> Array:
    """Unknowns from which nothing is known."""
    return np.append(np.full(problem.basis.shape[1], 1e-3), [-1.0, np.log(problem.phi)])


def _excess(problem: SpanProblem, order: int, unknowns: Array, lam: float) -> Array:
    """The map's image less the unknowns."""
    loss, phi, k = problem.loss, problem.phi, problem.basis.shape[1]
    if not np.abs(unknowns[k:]).max() < FARTHEST:
        raise ConvergenceError(
            f"phi = {phi:g}, lam = {lam:g}, {loss}: |θ| runs away, beyond exp({FARTHEST:g}): without ridge it does"
            " where the kept rows are separable"
        )
    a, (sigma, delta) = unknowns[:k], np.exp(unknowns[k:]).tolist()
    score = np.append(a, sigma)
    length = float(np.linalg.norm(score))
    t, pull, force = 0.0, np.zeros(k), 0.0
    for group in problem.groups:
        bends = [(at / length, width / length) for at, width in loss.bends(delta)]
        for atoms in kept_atoms(problem, group, order, score / length, bends, NEGLIGIBLE):
            f, bend = loss.answer(score @ atoms.frame[:, :-1] @ atoms.t, atoms.y, atoms.q, delta)
            t += atoms.mean(bend)
            pull += atoms.linear(f)[:k]
            force += atoms.mean(f * f)
    bulk = Bulk.of(problem, t, phi, lam)
    variance = bulk.leak(a) + bulk.spread * force
    return np.concatenate([bulk.inside @ (pull + t * a), [np.log(variance) / 2, np.log(bulk.delta)]]) - unknowns
