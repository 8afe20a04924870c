"""The span recipe for any convex loss, logistic regression above all (ours).

With θ = Σ^½ŵ a kept row's score is g·a + σZ, Z ~ N(0, 1), once the row itself is left out; with it, the score is
h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ. Then

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread · E[f²]

with δ, K, leak and spread of `dp_theory.span.bulk.Bulk` at curvature t (Σ = I: K = m = 1/(λ + t), spread = φm²,
leak = 0). The square loss gives back dp_theory.span.square. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao and
Couillet 2019.
"""

from collections.abc import Sequence

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array
from dp_theory.problem import Prediction
from dp_theory.span.atoms import Atoms, kept_atoms
from dp_theory.span.bulk import Bulk, Solution
from dp_theory.span.certificate import EXPECTATION, certified
from dp_theory.span.problem import SpanProblem

_NUDGE = 1e-6  # of the unknowns, for derivatives


def predict_convex(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """Limits of a problem under its loss; everything else as in `dp_theory.predict`.

    lam = 0 is allowed where a minimum exists: for the logistic loss, where the kept rows are not separable. Raises
    InputError if no row is kept, ConvergenceError if the quadrature misses `tolerance`, by default 1e-8, and where the
    fixed point is not found, naming phi, lam and the residual.
    """
    starts: dict[SpanProblem, Array] = {}  # from the order before

    def solve(cell: SpanProblem, order: int, atoms: Sequence[Atoms]) -> Solution:
        solution, starts[cell] = _fixed_point(cell, order, starts.get(cell))
        return solution

    orders = (6, 8, 11, 15, 22, 32, 46, 64)
    return certified(problem, solve, orders, tolerance=1e-8 if tolerance is None else tolerance)


def _fixed_point(problem: SpanProblem, order: int, start: Array | None) -> tuple[Solution, Array]:
    """The solution of a scalar problem, and the unknowns (a, ln σ, ln δ) behind it.

    From afar, damped iteration brings Powell's method near.
    """
    from scipy.optimize import root

    loss, phi, lam, k = problem.loss, problem.phi, problem.lam, problem.basis.shape[1]

    def excess(unknowns: Array) -> Array:
        """The map's image less the unknowns."""
        a, (sigma, delta) = unknowns[:k], np.exp(unknowns[k:])
        score = np.append(a, sigma)
        length = np.linalg.norm(score)
        t, pull, force = 0.0, np.zeros(k), 0.0
        for group in problem.groups:
            atoms = kept_atoms(problem, group, order, score / length)
            h = loss.prox(score @ atoms.frame[:, :-1] @ atoms.t, atoms.y, delta * atoms.q)
            f = -atoms.q * loss.slope(h, atoms.y)
            bend = atoms.q * loss.curvature(h, atoms.y)
            t += atoms.mean(bend / (1 + delta * bend))
            pull += atoms.linear(f)[:k]
            force += atoms.mean(f * f)
        bulk = Bulk.of(problem, t, phi, lam)
        variance = bulk.leak(a) + bulk.spread * force
        return np.concatenate([bulk.inside @ (pull + t * a), [np.log(variance) / 2, np.log(bulk.delta)]]) - unknowns

    if start is None:
        start = np.append(np.full(k, 1e-3), [-1.0, np.log(phi)])
        for _ in range(20):
            start = start + excess(start) / 2
    found = root(excess, start, method="hybr", options={"xtol": 1e-13})
    residual = np.abs(found.fun).max()
    if not residual <= 1e-10:
        raise ConvergenceError(f"phi = {phi:g}, lam = {lam:g}, {loss}: the fixed point is missed by {residual:.1e}")
    variance = float(np.exp(2 * found.x[-2]))

    def errors() -> tuple[float, float]:
        missed = np.abs(found.fun) + EXPECTATION * (1 + np.abs(found.x))
        steps = _NUDGE * np.eye(len(found.x))
        jacobian = np.column_stack([(excess(found.x + step) - found.fun) / _NUDGE for step in steps])
        off = np.abs(np.linalg.inv(jacobian)) @ missed
        return float(np.linalg.norm(off[:k])), 2 * variance * float(off[k])

    return Solution(found.x[:k], variance, residual, errors), found.x
