"""The limits under other losses than the square, and their certificates."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.loop.losses.nodes import node_means
from dp_theory.loop.losses.points import Points, draw_points
from dp_theory.loop.losses.search import Means, Search
from dp_theory.loop.square import Cohort, Newest, Solution, more_nodes, require_certain_rules, solve_cell
from dp_theory.numerics.checks import ROUNDING, Array, Float
from dp_theory.numerics.fixed_point import fixed_point

if TYPE_CHECKING:
    from dp_theory.loop.problems import ScalarProblem

# Orders of the quadrature without rounds, taken in turn until two agree.
ORDERS = (4, 8, 11, 14, 18, 22, 27, 32, 39, 46, 55, 64)
# Relative error that quadrature leaves by default.
TOLERANCE = 1e-8
# Points of a cohort, with rounds; taken in turn until two agree.
SIZES = (2**13, 2**15, 2**17)
# Relative error that points leave by default.
SAMPLED_TOLERANCE = 5e-3
# Relative residual at which a stage over nodes counts as solved.
EXACT = 1e-9
# A stage over points that misses more is refused; below, the miss is in the certificate.
MISSED = 1e-4

# The order of the quadrature of rules where forces are means over points.
_POINT_ORDER = 24
# An order at which a stage without a solution has none: fewer nodes may miss it.
_GIVEN_UP = ORDERS[2]
# Easier stages in a row without a solution, after which none is tried.
_FAILED = 6
# The relative error, by rounding, of a mean over nodes.
_MEAN_ERROR = 64 * ROUNDING
# The relative error that such means are given, to see its effect.
_TRIED_ERROR = 1e-7
# Factor of the certificate over what a perturbed solution shows.
_SAFETY = 4


def certified(cell: "ScalarProblem", tolerance: float | None) -> tuple[Solution, Float[Array, " stages"]]:
    """The solution and its certificate."""
    if cell.rounds:
        return _by_points(cell, SAMPLED_TOLERANCE if tolerance is None else tolerance)
    return _by_nodes(cell, TOLERANCE if tolerance is None else tolerance)


def _found(solution: Solution, means: Means, start: Solution | None, enough: float) -> Solution:
    """The solution after one more stage: from a solution nearby, at once, or along ridges that fall."""
    search, least = Search(solution), np.inf

    def solved(equations: Search, begin: Array) -> tuple[Array, float]:
        return fixed_point(partial(equations.move, means), begin)

    begin = search.start()
    starts = [begin]
    if start is not None:
        with suppress(FloatingPointError):  # these points may allow no learner as near to those before it
            starts = [search.near(start), begin]
    for place in starts:
        coordinates, miss = solved(search, place)
        if miss <= EXACT:
            break
    else:
        failed = 0
        for easier in search.easier():
            there, off = solved(easier, begin)
            begin, least, failed = (there, easier.ridge, 0) if off <= enough else (begin, least, failed + 1)
            if failed == _FAILED:
                break
        coordinates, miss = solved(search, begin)
    if not miss <= enough:
        remedy = f"there is one at lam = {least:.2g}" if np.isfinite(least) else "give a much larger lam"
        cell = solution.cell
        raise ConvergenceError(
            f"{cell.where(solution.stages)}, {cell.loss}: no solution is found, equations are missed by {miss:.1e};"
            f" {remedy}. Without ridge there is none where rows are separable"
        )
    newest = search.newest(coordinates)
    return solution.grown(newest, means(newest), miss)


# -- with rounds: points ----------------------------------------------------------------------------------------------


def solve_cell_over(
    cell: "ScalarProblem", size: int = SIZES[0], seed: int = 0, start: Solution | None = None
) -> Solution:
    """Over so many points of each cohort, without a certificate. `start` is a solution to begin with."""
    sampled: list[Points] = []  # of the cohorts so far

    def solve_stage(solution: Solution) -> Solution:
        stage = solution.stages
        for cohort in solution.cohorts[len(sampled) :]:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stage,)))
            sampled.append(draw_points(cohort, size, rng))
        training = sampled[-len(solution.training) :]
        forces: Sequence[Array | None] = [None] * len(training)  # at the last call of `means`

        def means(newest: Newest) -> Newest:
            nonlocal forces
            orders, cohorts = solution.orders.grown(newest), zip(training, forces, strict=True)
            of_cohorts, forces = zip(*(points.means(orders, cell.loss, near) for points, near in cohorts), strict=True)
            return np.sum(of_cohorts, axis=0)

        grown = _found(solution, means, start, MISSED)
        sampled[-len(training) :] = [points.grown(grown.orders, cell.loss) for points in training]
        return grown

    return solve_cell(cell, _POINT_ORDER, solve_stage)


def _by_points(cell: "ScalarProblem", tolerance: float) -> tuple[Solution, Array]:
    """The certificate is the change by four times as many other points, or the equations' residual if it is larger."""
    solved = solve_cell_over(cell)
    require_certain_rules(solved.cohorts, tolerance)
    change = np.full(cell.stages, np.inf)
    for seed, size in enumerate(SIZES[1:], 1):
        before = solved
        solved = solve_cell_over(cell, size, seed, before)
        change = np.maximum.accumulate(np.maximum(solved.change(before), _SAFETY * solved.residual))
        if change.max() <= tolerance:
            return solved, change
    raise ConvergenceError(
        f"practice at phi = {cell.phi:g}, {cell.loss}: {SIZES[-1]} points still change the result by"
        f" {change.max():.1e}, tolerance = {tolerance:.1e}"
    )


# -- without rounds: nodes --------------------------------------------------------------------------------------------


def _over_nodes(cell: "ScalarProblem", order: int, start: Solution | None, error: Array | float = 0.0) -> Solution:
    """`start` is a solution to begin with, and `error` that of the means of forces, relative."""

    def means(newest: Newest) -> Newest:
        return node_means(cell.initial, cell.loss, order, newest) * (1 + error)

    def solve_stage(solution: Solution) -> Solution:
        return _found(solution, means, start, EXACT)

    return solve_cell(cell, order, solve_stage)


def _by_nodes(cell: "ScalarProblem", tolerance: float) -> tuple[Solution, Array]:
    """The certificate is the last change by more nodes, and what rounding does."""
    require_certain_rules([Cohort.of(placed, ORDERS[0], 0, 1) for placed in cell.initial], tolerance)
    change = np.inf
    solutions: list[tuple[int, Solution]] = []
    for order in ORDERS:
        before = solutions[-1][1] if solutions else None
        try:
            solved = _over_nodes(cell, order, before)
        except ConvergenceError:
            if solutions or order >= _GIVEN_UP:
                raise
            continue
        solutions.append((order, solved))
        if before is not None:
            change = max(float(solved.change(before).max()), float(solved.residual.max()))
            if change <= tolerance:
                few, one = solutions[-3:][0]  # the effect of an error needs few nodes
                error = _TRIED_ERROR * np.random.default_rng(0).uniform(-1, 1, cell.basis.shape[1] + 2)
                other = _over_nodes(cell, few, one, error)
                share = (_MEAN_ERROR + solved.residual) / _TRIED_ERROR
                return solved, change + _SAFETY * share * one.change(other)
    raise more_nodes(cell, ORDERS[-1], change, tolerance)
