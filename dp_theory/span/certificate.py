"""From a solver of the span recipe to predictions that know their error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import ROUNDING, Array, require
from dp_theory.ridge.problem import Prediction
from dp_theory.span.atoms import Weighed, kept_atoms
from dp_theory.span.span_problem import Group, SpanCell, SpanProblem

if TYPE_CHECKING:
    from jaxtyping import Float

EXPECTATION = 64 * ROUNDING  # relative error of an expectation by rounding of nodes, weights, atoms and their sum
_FIELDS = len(fields(Prediction))
_RECENT = 3  # orders whose rows are kept for the next cell, which may share its groups


@dataclass(frozen=True)
class Solution:
    """What a solver finds at one order of quadrature: a, θ in the span's basis, and σ², the squared norm of θ off the
    span.

    `endless` says that ‖θ‖ is infinite; then a and σ² fix its direction only.
    """

    a: Float[np.ndarray, " k"]
    variance: float
    residual: float
    endless: bool = field(default=False, kw_only=True)

    def errors(self) -> tuple[float, float]:
        """First-order bounds of |a - exact a| and of |variance - exact variance|, by rounding and residual, without
        quadrature.
        """
        raise NotImplementedError


# (cell, order, kept rows of each group, solution at the order before, if there is one) -> solution at this order
Solver = Callable[[SpanCell, int, Sequence[Weighed], Solution | None], Solution]


def certified(problem: SpanProblem, solve: Solver, orders: Sequence[int], tolerance: float) -> Prediction:
    """The prediction of a solver for each cell, whose order of quadrature rises until it changes nothing more.

    The certificate is the sum of two relative errors. The first is the last change of test error, overlap (over the
    norm), squared norm and kept fraction, or the fixed point's residual if that is larger; quadrature converges
    geometrically, so that the error of the order before bounds that of the result. The second is what rounding and the
    solver's own errors make of the outputs, without limit towards the ridgeless peak. Raises ConvergenceError if no
    order brings the first below `tolerance`, or below the second; InputError if no row is kept.
    """
    truth = problem.whitened(problem.truth)[0] @ problem.basis
    rows = _RecentRows(problem)
    cells = [_certified_cell(cell, solve, orders, tolerance, truth, rows) for cell in problem.cells()]
    values = np.reshape(cells, (*problem.shape, _FIELDS))
    return Prediction(*(values[..., i][()] for i in range(_FIELDS)))


@dataclass
class _RecentRows:
    """The kept rows by weight of the last few orders."""

    problem: SpanProblem
    known: dict[tuple[Sequence[Group], int], list[Weighed]] = field(default_factory=dict)

    def find(self, groups: Sequence[Group], order: int) -> list[Weighed]:
        key = (groups, order)
        found = self.known.pop(key, None)
        if found is None:
            found = [Weighed.of(kept_atoms(self.problem, group, order)) for group in groups]
        self.known[key] = found  # the last entry is the most recent one
        if len(self.known) > _RECENT:
            del self.known[next(iter(self.known))]
        return found


class _Attempt(NamedTuple):
    """A solution at one order, and what it predicts."""

    solution: Solution
    outputs: Array  # test error, overlap, squared norm, kept fraction


def _attempts(
    cell: SpanCell, solve: Solver, orders: Sequence[int], truth: Array, rows: _RecentRows
) -> Iterator[_Attempt]:
    solution = None
    for order in orders:
        weighed = rows.find(cell.groups, order)
        kept = sum(float(of_group.mass.sum()) for of_group in weighed)
        require("keep_fraction", kept, kept > 0, "be positive: no row is kept with a positive weight")
        try:
            solution = solve(cell, order, weighed, solution)
        except ConvergenceError:
            if order != orders[0]:
                raise
            continue
        overlap = truth @ solution.a
        off = np.square(solution.a - overlap * truth).sum() + solution.variance
        test_error = np.arctan2(np.sqrt(off), overlap) / np.pi
        yield _Attempt(solution, np.array([test_error, overlap, overlap**2 + off, kept]))


def _certified_cell(
    cell: SpanCell, solve: Solver, orders: Sequence[int], tolerance: float, truth: Array, rows: _RecentRows
) -> tuple[float, ...]:
    attempts = _attempts(cell, solve, orders, truth, rows)
    solution, current = next(attempts)
    change = np.inf
    for solution, outputs in attempts:
        change = _change(current, outputs, solution.residual)
        current = outputs
        if change <= tolerance:
            break
    propagated = _propagated(current, truth, solution)
    if change <= max(tolerance, propagated):  # no order can get rid of what conditioning makes of rounding
        test_error, overlap, squared_norm, kept = current
        if solution.endless:
            overlap = np.copysign(np.inf, overlap)
            squared_norm = np.inf
        return test_error, overlap, squared_norm, kept, change + propagated
    raise ConvergenceError(
        f"phi = {cell.phi:g}, lam = {cell.lam:g}: quadrature of order {orders[-1]} still changes the result by "
        f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
    )


def _change(previous: Array, current: Array, residual: float) -> float:
    """The largest relative change of an output, of the overlap over the norm; at least the residual."""
    test_error, _, squared_norm, kept = current
    scale = np.array([test_error, np.sqrt(squared_norm), squared_norm, kept])
    moved = current != previous  # at the peak both norms are inf
    return np.max(np.abs(current[moved] - previous[moved]) / scale[moved], initial=residual)


def _propagated(outputs: Array, truth: Array, solution: Solution) -> float:
    """Relative error of test error, overlap (over the norm) and squared norm by the solver's own errors.

    If a is off by e and σ² by v, the squared part off the truth is off by 2e·|a off the truth| + v, and the relative
    error of the angle is at most that of its tangent. Besides, directions and the angles between them are rounded.
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
