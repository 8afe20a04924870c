"""From a solver of the span recipe to predictions that know their error."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import ROUNDING, Array, require
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed, kept_atoms
from dp_theory.span.bulk import Solution
from dp_theory.span.span_problem import Group, SpanProblem

_FIELDS = len(fields(Prediction))
EXPECTATION = 64 * ROUNDING  # relative error of an expectation by rounding of nodes, weights, atoms and their sum


def certified(
    problem: SpanProblem,
    solve: Callable[[SpanProblem, int, Sequence[Weighed]], Solution],
    orders: Sequence[int],
    tolerance: float,
) -> Prediction:
    """The prediction from solve(scalar problem, order, its rows), the order raised until it changes nothing more.

    The certificate is the sum of two relative errors. One is the last change of test error, overlap (over the norm),
    squared norm and kept fraction, or the fixed point's residual if larger: quadrature converges geometrically, so that
    the error of the order before bounds that of the result. The other is what rounding and the solver's own errors make
    of the outputs; it grows without limit towards the peak of the ridgeless limit. Raises ConvergenceError if no order
    brings the first below `tolerance`, or below the second, InputError if no row is kept.
    """

    @lru_cache(maxsize=3)  # the orders that the next cell, which may share its groups, asks for again
    def rows_of(groups: Sequence[Group], order: int) -> list[Weighed]:
        return [Weighed.of(kept_atoms(problem, group, order)) for group in groups]

    def outputs(cell: SpanProblem, order: int) -> tuple[Array, Solution]:
        rows = rows_of(cell.groups, order)
        kept = sum(float(of_group.mass.sum()) for of_group in rows)
        require("keep_fraction", kept, kept > 0, "be positive: no row is kept with a positive weight")
        solution = solve(cell, order, rows)
        overlap = truth @ solution.a
        off = np.square(solution.a - overlap * truth).sum() + solution.variance
        return np.array([np.arctan2(np.sqrt(off), overlap) / np.pi, overlap, overlap**2 + off, kept]), solution

    def certify(cell: SpanProblem) -> tuple[float, ...]:
        further, change = iter(orders[1:]), np.inf
        try:
            current, solution = outputs(cell, orders[0])
        except ConvergenceError:  # the lowest order may have no solution where there is one
            current, solution = outputs(cell, next(further))
        for order in further:
            if change <= tolerance:
                break
            previous = current
            current, solution = outputs(cell, order)
            scale = np.array([current[0], np.sqrt(current[2]), *current[2:]])
            moved = current != previous  # at the peak both norms are inf
            change = np.max(np.abs(current[moved] - previous[moved]) / scale[moved], initial=solution.residual)
        propagated = _propagated(current, truth, solution)
        if change <= max(tolerance, propagated):  # of what conditioning makes of rounding no order can get rid
            error, overlap, squared_norm, kept = current
            if solution.endless:
                overlap, squared_norm = np.copysign(np.inf, overlap), np.inf
            return error, overlap, squared_norm, kept, change + propagated
        raise ConvergenceError(
            f"phi = {cell.phi:g}, lam = {cell.lam:g}: quadrature of order {orders[-1]} still changes the result by "
            f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
        )

    truth = problem.whitened(problem.truth)[0] @ problem.basis
    cells = np.reshape([certify(cell) for cell in problem.cells()], (*problem.shape, _FIELDS))
    return Prediction(*(cells[..., i][()] for i in range(_FIELDS)))


def _propagated(outputs: Array, truth: Array, solution: Solution) -> float:
    """Relative error of test error, overlap (over the norm) and squared norm by the solver's own errors.

    If a is off by e and σ² by v, then the squared part off the truth is off by 2e|a off the truth| + v. The angle is
    off by no more, relatively, than its tangent; besides, directions are rounded, and angles between them with them.
    """
    error, overlap, squared_norm, _ = outputs
    of_a, of_variance = solution.errors()
    if np.isinf(of_variance):
        return np.inf
    across = float(np.linalg.norm(solution.a - overlap * truth))
    off = across**2 + solution.variance
    of_off = 2 * across * of_a + of_variance
    along = of_a / np.sqrt(squared_norm)
    of_angle = of_off / off / 2 + along + 8 * ROUNDING / error
    return max(of_angle, (2 * abs(overlap) * of_a + of_off) / squared_norm)
