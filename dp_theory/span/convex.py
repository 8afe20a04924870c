"""The span recipe for any convex loss, logistic regression above all (ours).

With θ = Σ^½ŵ a kept row's score is g·a + σZ, Z ~ N(0, 1), once the row itself is left out; with it, the score is
h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ. Then

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread · E[f²]

with δ, K, leak and spread of `dp_theory.span.bulk.Bulk` at curvature t (Σ = I: K = m = 1/(λ + t), spread = φm²,
leak = 0). The square loss gives back dp_theory.span.square. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao and
Couillet 2019.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed, kept_atoms
from dp_theory.span.bulk import Bulk, Solution
from dp_theory.span.certificate import EXPECTATION, certified
from dp_theory.span.losses import HARD_MARGIN, limits
from dp_theory.span.span_problem import SpanProblem

NEGLIGIBLE = 1e-14  # mass of an atom, over the largest of its block: the tails of several directions are many
FARTHEST = 100.0  # |ln σ| and |ln δ| from which no solution is looked for
_NUDGE = 1e-6  # of the unknowns, for derivatives
_MUCH, _DAMPED = 0.1, 20  # ridge at which a solution is found from anywhere, after so many steps of iteration


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

    orders = (4, 8, 11, 14, 18, 22, 27, 32, 39, 46, 55, 64)
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

    known: the latter at the order before, from which a few steps of Broyden's method lead here. From afar, damped
    iteration brings Powell's method near at a large ridge, which then falls at once, or if that fails in steps.
    """
    k = problem.basis.shape[1]

    def excess(unknowns: Array, lam: float = problem.lam) -> Array:
        return _excess(problem, order, unknowns, lam)

    x, jacobian = (known.unknowns, known.jacobian) if known else (_afar(problem), np.eye(k + 2))
    off = excess(x)
    if known:
        for _ in range(8):
            step = -np.linalg.solve(jacobian, off)
            if np.abs(step).max() > 1:
                break
            x, before, off = x + step, off, excess(x + step)
            jacobian = jacobian + np.outer(off, step) / (step @ step)  # Broyden's: it misses off - before by off
            if np.abs(off).max() <= 1e-11 or np.abs(off).max() > np.abs(before).max() / 2:
                break
    if not np.abs(off).max() <= 1e-11:
        small = not known and 0 < problem.lam < _MUCH
        try:
            x = _along(problem, excess, x, [_MUCH, problem.lam] if small else [problem.lam], 0 if known else _DAMPED)
        except ConvergenceError:
            if not small:
                raise
            steps = 2 + int(np.log(_MUCH / problem.lam))
            x = _along(problem, excess, x, np.geomspace(_MUCH, problem.lam, steps).tolist(), _DAMPED)
        off = excess(x)
        steps = _NUDGE * np.eye(len(x))
        jacobian = np.column_stack([(excess(x + step) - off) / _NUDGE for step in steps])
    residual = _residual(problem, off)
    variance = float(np.exp(2 * x[-2]))

    def errors() -> tuple[float, float]:
        missed = np.abs(off) + EXPECTATION * (1 + np.abs(x))
        moved = np.abs(np.linalg.inv(jacobian)) @ missed
        return float(np.linalg.norm(moved[:k])), 2 * variance * float(moved[k])

    solution = Solution(x[:k], variance, residual, errors, endless=problem.loss == HARD_MARGIN)
    return solution, Known(problem, x, jacobian)


def _along(problem: SpanProblem, excess: Callable[..., Array], x: Array, path: Sequence[float], damped: int) -> Array:
    """The unknowns at the last ridge of a path, by Powell's method from those at the ridge before; at the first one
    after so many steps of damped iteration from x. Raises ConvergenceError where it misses them."""
    from scipy.optimize import root

    for _ in range(damped):
        x = x + excess(x, path[0]) / 2
    for lam in path:
        x = root(excess, x, (lam,), method="hybr", options={"xtol": 1e-13}).x
    _residual(problem, excess(x))
    return x


def _residual(problem: SpanProblem, off: Array) -> float:
    """By how much the fixed point is missed. Raises ConvergenceError where that is more than rounding."""
    residual = float(np.abs(off).max())
    if not residual <= 1e-10:
        raise ConvergenceError(
            f"phi = {problem.phi:g}, lam = {problem.lam:g}, {problem.loss}: the fixed point is missed by {residual:.1e}"
        )
    return residual


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
