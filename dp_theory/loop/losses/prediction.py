"""The limits under other losses than the square, and their certificates."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.loop.losses.forces import PointMeans, SampledRows
from dp_theory.loop.losses.loss import QuadraticLoss
from dp_theory.loop.losses.nodes import NodeMeans
from dp_theory.loop.losses.points import draw_points
from dp_theory.loop.losses.search import Search
from dp_theory.loop.square import Row, Solution, more_nodes, solve_cell
from dp_theory.numerics.checks import ROUNDING, Array, Float
from dp_theory.numerics.fixed_point import fixed_point

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem, ScalarProblem

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

# Points of a cohort with which a stage is solved first.
_FEW = 2**11
# The order of the quadrature of rules where forces are means over points.
_POINT_ORDER = 24
# Relative residual over few points at which the search over all points begins.
_NEAR = 1e-6
# The residual over few points above which an easier stage counts as not solved.
_NEAR_ENOUGH = 1e-4
# The residual over few points above which all points are not tried: few may have no solution where all have one.
_TRIED_WITH_ALL = 0.1
# Relative residual at which the search over nodes ends.
_SOLVED = 1e-12
# Relative residual at which the search over points ends: points err by far more.
_SOLVED_OVER_POINTS = 1e-10
# Steps of the search at most, over few points and over all.
_STEPS = (40, 80)
# Steps of the search over nodes at most.
_STEPS_OF_NODES = 30
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


def _missed(solution: Solution, miss: float, solved: float) -> ConvergenceError:
    """`solved` is the least ridge on the way at which there is a solution."""
    remedy = f"there is one at lam = {solved:.2g}" if np.isfinite(solved) else "give a much larger lam"
    cell = solution.cell
    return ConvergenceError(
        f"{cell.where(solution.stages)}, {cell.loss}: no solution is found, equations are missed by {miss:.1e};"
        f" {remedy}. Without ridge there is none where rows are separable"
    )


# -- with rounds: points ----------------------------------------------------------------------------------------------


def solve_loop(problem: "PracticeProblem", size: int = SIZES[0], seed: int = 0) -> Solution:
    """A loop with scalar rules, over so many points of each cohort, without a certificate."""
    (cell,) = problem.cells()
    return _over_points(cell, size, seed)


def _over_points(cell: "ScalarProblem", size: int, seed: int, start: Solution | None = None) -> Solution:
    """`start` is a solution to begin with."""
    sampled: list[SampledRows] = []  # of the cohorts so far
    controls: list[QuadraticLoss] = []  # of the stages so far

    def solve_stage(solution: Solution) -> Solution:
        stage = solution.stages
        for cohort in solution.cohorts[len(sampled) :]:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stage,)))
            sampled.append(SampledRows.of(draw_points(cohort, size, rng)))
        training = slice(len(sampled) - len(solution.training), None)
        start_means = PointMeans(solution, sampled[training], cell.loss, tuple(controls))
        newest, means, miss = _found_by_points(start_means, start)
        grown = solution.grown(newest, means(newest), miss)
        controls.append(means.control)
        losses = cell.loss, means.control
        sampled[training] = [each.grown(grown.orders, losses) for each in sampled[training]]
        return grown

    return solve_cell(cell, _POINT_ORDER, solve_stage)


def _found_by_points(of_all: PointMeans, start: Solution | None) -> tuple[Row, PointMeans, float]:
    """From a solution nearby, at once, or along ridges that fall."""
    solution, sampled, miss, solved = of_all.before, of_all.sampled, np.inf, np.inf
    search = Search(solution)
    if start is not None:
        with suppress(FloatingPointError):  # these points may allow no learner as near to those before it
            means = replace(of_all)  # each fits a control of its own
            begin = search.near(start)
            coordinates, miss = fixed_point(search.moves(means), begin, _SOLVED_OVER_POINTS, _STEPS[1], EXACT)
            if miss <= EXACT:
                return search.newest(coordinates), means, miss
    few = replace(of_all, sampled=[rows.first(_FEW) for rows in sampled])
    for gradually in (False, True):
        means = replace(few)
        begin, failed = search.start(), 0
        for easier in search.easier() if gradually else ():
            there, miss = fixed_point(easier.moves(replace(few)), begin, _NEAR, _STEPS[0], _NEAR_ENOUGH)
            begin, failed = (there, 0) if miss <= _NEAR_ENOUGH else (begin, failed + 1)
            solved = solved if failed else easier.ridge
            if failed == _FAILED:
                break
        coordinates, miss = fixed_point(search.moves(means), begin, _NEAR, _STEPS[0], _NEAR_ENOUGH)
        if miss <= _TRIED_WITH_ALL:
            means = replace(means, sampled=sampled, settled=True)
            coordinates, miss = fixed_point(search.moves(means), coordinates, _SOLVED_OVER_POINTS, _STEPS[1], EXACT)
        if miss <= (MISSED if gradually else EXACT):
            return search.newest(coordinates), means, miss
    raise _missed(solution, miss, solved)


def _by_points(cell: "ScalarProblem", tolerance: float) -> tuple[Solution, Array]:
    """The certificate is the change by four times as many other points, or the equations' residual if it is larger."""
    solved = _over_points(cell, SIZES[0], 0)
    change = np.full(cell.stages, np.inf)
    for seed, size in enumerate(SIZES[1:], 1):
        before = solved
        solved = _over_points(cell, size, seed, before)
        change = np.maximum.accumulate(np.maximum(solved.change(before), _SAFETY * solved.residual))
        if change.max() <= tolerance:
            return solved, change
    raise ConvergenceError(
        f"practice at phi = {cell.phi:g}, {cell.loss}: {SIZES[-1]} points still change the result by"
        f" {change.max():.1e}, tolerance = {tolerance:.1e}"
    )


# -- without rounds: nodes --------------------------------------------------------------------------------------------


def _over_nodes(cell: "ScalarProblem", order: int, start: Solution | None, error: Array | None = None) -> Solution:
    """`start` is a solution to begin with, and `error` that of the means of forces."""
    return solve_cell(cell, order, partial(_stage_over_nodes, order=order, start=start, error=error))


def _stage_over_nodes(solution: Solution, *, order: int, start: Solution | None, error: Array | None) -> Solution:
    means = NodeMeans(solution.cell.initial, solution.cell.loss, order, error)
    search = Search(solution)

    def solved(equations: Search, begin: Array) -> tuple[Array, float]:
        return fixed_point(equations.moves(means), begin, _SOLVED, _STEPS_OF_NODES, EXACT)

    begin = search.start() if start is None else search.near(start)
    coordinates, miss = solved(search, begin)
    least = np.inf
    if start is None and miss > EXACT:
        for easier in search.easier():
            there, off = solved(easier, begin)
            begin, least = (there, easier.ridge) if off <= EXACT else (begin, least)
        coordinates, miss = solved(search, begin)
    if not miss <= EXACT:
        raise _missed(solution, miss, least)
    newest = search.newest(coordinates)
    return solution.grown(newest, means(newest), miss)


def _by_nodes(cell: "ScalarProblem", tolerance: float) -> tuple[Solution, Array]:
    """The certificate is the last change by more nodes, and what rounding does."""
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
