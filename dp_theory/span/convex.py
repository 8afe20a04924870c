"""The span recipe for any convex loss, logistic regression above all; same problems, same answers as dp_theory.span.

ŵ = argmin (1/n) Σ_i q_i ℓ(ŵ·x_i; y_i) + (λ/2) ‖ŵ‖². With θ = Σ^½ŵ a kept row's score is g·a + σZ, Z ~ N(0, 1), once
the row itself is left out; with it, the score is h = prox(g·a + σZ), the root of h + δ q ℓ'(h; y) = g·a + σZ. Then

    f = −q ℓ'(h)      t = E[q ℓ''(h)/(1 + δ q ℓ''(h))]      a = K (E[f g] + t a)      σ² = leak(a) + spread · E[f²]

with δ, K, leak and spread of `dp_theory.span.Bulk` at curvature t (Σ = I: K = m = 1/(λ + t), spread = φm², leak = 0).
The square loss gives back the span recipe. References: Salehi, Abbasi and Hassibi 2019; Mai, Liao and Couillet 2019.
"""

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array
from dp_theory.problem import Prediction
from dp_theory.span.atoms import kept_atoms
from dp_theory.span.bulk import Bulk, Solution
from dp_theory.span.certificate import certified
from dp_theory.span.losses import LOGISTIC, Loss
from dp_theory.span.problem import SpanProblem


def predict(problem: SpanProblem, loss: Loss = LOGISTIC, *, tolerance: float = 1e-8) -> Prediction:
    """Limits of test error, overlap and squared norm under `loss`; fields and errors as `dp_theory.span.predict`.

    lam = 0 is allowed where a minimum exists: for the logistic loss, where the kept rows are not separable. Raises
    ConvergenceError where the fixed point is not found, naming phi, lam and the residual.
    """
    starts: dict[tuple[float, float], Array] = {}

    def solve(order: int, phi: float, lam: float) -> Solution:
        start = starts.get((phi, lam))
        unknowns, residual = _fixed_point(problem, loss, order, phi, lam, start)
        starts[phi, lam] = unknowns
        return Solution(unknowns[:-2], np.exp(2 * unknowns[-2]), residual)

    return certified(problem, solve, orders=(6, 8, 11, 15, 22, 32, 46, 64), tolerance=tolerance)


def _fixed_point(
    problem: SpanProblem, loss: Loss, order: int, phi: float, lam: float, start: Array | None
) -> tuple[Array, float]:
    """The unknowns (a, ln σ, ln δ) and their residual; from afar, damped iteration brings Powell's method near."""
    from scipy.optimize import root

    k = problem.basis.shape[1]

    def excess(unknowns: Array) -> Array:
        """The map's image less the unknowns."""
        a, (sigma, delta) = unknowns[:k], np.exp(unknowns[k:])
        score = np.append(a, sigma)
        length = np.linalg.norm(score)
        t, pull, force = 0.0, np.zeros(k), 0.0
        for group in problem.groups:
            rows = kept_atoms(problem, group, order, score / length)
            h = loss.prox(score @ rows.frame[:, :-1] @ rows.t, rows.y, delta * rows.q)
            f = -rows.q * loss.slope(h, rows.y)
            bend = rows.q * loss.curvature(h, rows.y)
            t += rows.mean(bend / (1 + delta * bend))
            pull += rows.linear(f)[:k]
            force += rows.mean(f * f)
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
    return found.x, residual
