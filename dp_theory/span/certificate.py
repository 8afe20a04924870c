"""Predictions with a certificate."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array, require
from dp_theory.problem import Prediction
from dp_theory.span.atoms import kept_atoms
from dp_theory.span.bulk import Solution
from dp_theory.span.problem import SpanProblem


def certified(
    problem: SpanProblem, solve: Callable[[int, float, float], Solution], orders: Sequence[int], tolerance: float
) -> Prediction:
    """Prediction from solve(order, phi, lam), the quadrature's order raised until it changes nothing any more.

    The certificate is the larger of the fixed point's residual and the last relative change of test error, overlap
    (over the norm), squared norm and kept fraction. The quadrature converges geometrically, so that this change, which
    is the error of the order before, bounds that of the result. Raises ConvergenceError if no order brings it below
    `tolerance`.
    """
    truth = problem.whitened(problem.truth)[0] @ problem.basis

    @cache
    def keep_fraction(order: int) -> float:
        return sum(float(kept_atoms(problem, group, order).mass.sum()) for group in problem.groups)

    kept = keep_fraction(orders[0])
    require("keep_fraction", kept, kept > 0, "be positive: no row is kept with a positive weight")

    def outputs(order: int, phi: float, lam: float) -> tuple[Array, float]:
        a, variance, residual = solve(order, phi, lam)
        overlap = truth @ a
        off = np.square(a - overlap * truth).sum() + variance
        angle = np.arctan2(np.sqrt(off), overlap)
        return np.array([angle / np.pi, overlap, overlap**2 + off, keep_fraction(order)]), residual

    def cell(phi: float, lam: float) -> tuple[float, ...]:
        change, (previous, _) = np.inf, outputs(orders[0], phi, lam)
        for order in orders[1:]:
            current, residual = outputs(order, phi, lam)
            scale = np.array([current[0], np.sqrt(current[2]), *current[2:]])
            moved = current != previous  # at the peak both norms are inf
            change = np.max(np.abs(current[moved] - previous[moved]) / scale[moved], initial=residual)
            if change <= tolerance:
                return *current, change
            previous = current
        raise ConvergenceError(
            f"phi = {phi:g}, lam = {lam:g}: quadrature of order {orders[-1]} still changes the result by {change:.1e}, "
            f"more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
        )

    return Prediction(*(field[()] for field in np.vectorize(cell, otypes=[float] * 5)(problem.phi, problem.lam)))
