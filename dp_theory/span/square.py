"""The square loss."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from dp_theory.checks import Array
from dp_theory.problem import Prediction
from dp_theory.span.atoms import Atoms, kept_atoms
from dp_theory.span.bulk import Bulk, Solution, solve_delta
from dp_theory.span.certificate import certified
from dp_theory.span.problem import SpanProblem


def _moments(rows: Sequence[Atoms], values: Sequence[Array]) -> tuple[float, Array, Array]:
    """E[f], E[f y g] (k,), E[f g gᵀ] (k, k) over all groups, one f per atom."""
    parts = [(r.mean(f), r.linear(f * r.y), r.quadratic(f)) for r, f in zip(rows, values, strict=True)]
    mean, linear, quadratic = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return mean, linear, quadratic


def _square_loss(problem: SpanProblem, rows: Sequence[Atoms], phi: float, lam: float) -> Solution:
    """The fixed point of the square loss: with q̃ = q/(1 + qδ), A = E[q̃ g gᵀ], c = E[q̃ y g], and Σ = I for clarity,
    a = (λI + A)^-1 c and σ² = φm² E[q̃² (y − g·a)²] / (1 − φm² E[q̃²]), m = 1/(λ + E[q̃]).

    As λ → 0 with fewer kept rows than columns, δ → ∞ like 1/λ and q̃ → 1[q > 0]/δ: the weights drop out. In units of λ
    this is the same recipe at λ = 1.
    """
    kept, c, second = _moments(rows, [np.ones_like(r.q) for r in rows])
    if lam == 0 and abs(kept / phi - 1) < 1e-12:  # the peak, where the norm diverges
        return Solution(np.linalg.solve(second, c), np.inf, 0.0)
    ridgeless = lam == 0 and kept < phi
    lam = 1.0 if ridgeless else lam

    def softened(delta: float) -> list[Array]:
        return [np.full_like(r.q, 1 / delta) if ridgeless else r.q / (1 + r.q * delta) for r in rows]

    delta, residual = solve_delta(
        problem.eigenvalues,
        phi,
        lam,
        lambda delta: sum(r.mean(f) for r, f in zip(rows, softened(delta), strict=True)),
    )
    weights = softened(delta)
    t, c, second = _moments(rows, weights)
    bulk = Bulk.of(problem, t, phi, lam)
    a = np.linalg.solve(bulk.shrink + bulk.inside @ second, bulk.inside @ c)
    t2, c2, second2 = _moments(rows, [f * f for f in weights])
    misfit = t2 - 2 * a @ c2 + a @ second2 @ a  # E[q̃² (y − g·a)²]
    return Solution(a, float((bulk.leak(a) + bulk.spread * misfit) / (1 - bulk.spread * t2)), residual)


def predict(problem: SpanProblem, *, tolerance: float = 1e-9) -> Prediction:
    """Limits of test error, overlap and squared norm under the square loss, with a certificate.

    `overlap` is θ·Σ^½w0/‖Σ^½w0‖ and `squared_norm` is ‖θ‖² with θ = Σ^½ŵ (for Σ = I: of ŵ itself); `keep_fraction` is
    kept rows over n; `certificate` is that of `certified`. All have the broadcast shape of phi and lam. At lam = 0 and
    phi = keep_fraction the norm is inf and the test error 1/2.

    Raises InputError if no row is kept, ConvergenceError if the quadrature misses `tolerance`.
    """
    rows = cache(lambda order: [kept_atoms(problem, group, order) for group in problem.groups])

    def solve(order: int, phi: float, lam: float) -> Solution:
        return _square_loss(problem, rows(order), phi, lam)

    return certified(problem, solve, orders=(16, 32, 64, 128, 256), tolerance=tolerance)
