"""The limits of the practice loop, stage by stage, and their certificate."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import ROUNDING, Array
from dp_theory.practice.additions import Addition, MeasuredRows, RoundRows
from dp_theory.practice.cohorts import Cohort, make_cohort, needs_quadrature
from dp_theory.practice.dmft import Newest
from dp_theory.practice.loop import Loop
from dp_theory.practice.practice_problem import PracticePrediction, PracticeProblem
from dp_theory.span.losses import HARD_MARGIN, Loss, Square

if TYPE_CHECKING:
    from jaxtyping import Float

TOLERANCE = 1e-9  # relative error of the order parameters, and by default of quadrature
RESOLUTION = 1e-6  # least test error that double precision resolves, to about 1e-6 of it

# Orders of the Gauss-Legendre panels, taken in turn until three agree: two may miss the same feature.
ORDERS = (16, 24, 36, 54, 80, 120, 180)
ORDER = 24  # order of the panels where no certificate is asked for

SIZES = (2**13, 2**15, 2**17)  # points of a cohort, for losses other than the square; taken in turn until two agree
SAMPLED_TOLERANCE = 5e-3  # relative error that points may leave by default

_MOMENT_ERROR = 16 * ROUNDING  # relative error, by rounding, of a moment and of an order parameter
_SAFETY = 4  # factor of the certificate over what one perturbed solution shows


@dataclass(frozen=True)
class Stages:
    """A solved loop with scalar rules: what `PracticePrediction` has, the rounds with plans resolved, and each stage's
    loss.

    `overlap` is θ·Σ^½w0 over |Σ^½w0|, `kept` and `candidates` are sums so far in units of n, and `residual` is by how
    much a stage's equations are missed, relative to the order parameters.
    """

    additions: list[RoundRows]
    test_error: Float[np.ndarray, " stages"]
    kept: Float[np.ndarray, " stages"]
    candidates: Float[np.ndarray, " stages"]
    alignment: Float[np.ndarray, " stages"]
    overlap: Float[np.ndarray, " stages"]
    covariance: Float[np.ndarray, "stages stages"]
    response: Float[np.ndarray, "stages stages"]
    residual: Float[np.ndarray, " stages"]
    losses: list[Loss]

    def outputs(self) -> Float[np.ndarray, "3 stages"]:
        return np.stack([self.test_error, self.overlap, self.alignment**2 + np.diag(self.covariance)])


def predict_practice(problem: PracticeProblem, *, tolerance: float | None = None) -> PracticePrediction:
    """The limits of every stage, for fresh or accumulated pools: fields of shape (*S, stages), S the problem's shape.

    Where lam = 0, they are the limits λ → 0+. If a loss with `margin` finds the rows of a stage separable, overlap and
    squared norm are infinite, and the order parameters are those of HARD_MARGIN.

    `tolerance` is the largest relative change that quadrature may still make, by default 1e-9 for the square loss.
    Others are integrated over quasi-random points, with 5e-3; where these miss the default, the answer is what they
    reached, and its certificate larger. For the square loss a stage's certificate is four times the largest change so
    far by the rounding of moments and order parameters, or by more nodes, whose number rises until it changes less than
    `tolerance` twice in a row. For others it is what four times as many points, drawn anew, changed.

    Raises ConvergenceError where the order parameters miss their equations by more than 1e-9, where no number of nodes
    or points meets a given tolerance or the effect of rounding, or where the test error falls below RESOLUTION;
    InputError where a round keeps no row, and for problems that the loss does not take.
    """
    solved = [_predict_cell(cell, tolerance) for cell in problem.cells()]
    if not problem.shape:
        return replace(solved[0], problem=problem)
    names = [field.name for field in fields(PracticePrediction) if field.name != "problem"]
    stacked = {}
    for name in names:
        shape = (*problem.shape, *np.shape(getattr(solved[0], name)))
        stacked[name] = np.reshape([getattr(cell, name) for cell in solved], shape)
    return PracticePrediction(problem=problem, **stacked)


def _predict_cell(problem: PracticeProblem, tolerance: float | None) -> PracticePrediction:
    if isinstance(problem.loss, Square):
        solved, certificate = _certified_square(problem, TOLERANCE if tolerance is None else tolerance)
    else:
        solved, certificate = _certified_convex(problem, tolerance)
    test_error, overlap, squared_norm = solved.outputs()
    has_limit = np.array([loss == HARD_MARGIN for loss in solved.losses])
    additions = np.empty(len(solved.additions), object)
    additions[:] = solved.additions
    return PracticePrediction(
        test_error=test_error,
        overlap=np.where(has_limit, np.copysign(np.inf, overlap), overlap),
        squared_norm=np.where(has_limit, np.inf, squared_norm),
        keep_fraction=solved.kept / solved.candidates,
        certificate=certificate,
        problem=problem,
        additions=additions,
        kept=solved.kept,
        candidates=solved.candidates,
        alignment=solved.alignment,
        covariance=solved.covariance,
        response=solved.response,
    )


# -- the stages -------------------------------------------------------------------------------------------------------


def solve_stages(
    problem: PracticeProblem,
    order: int = ORDER,
    perturb: np.random.Generator | None = None,
    size: int = SIZES[0],
    seed: int = 0,
) -> Stages:
    """Solve a loop with scalar rules once, without a certificate. Raises as `predict_practice`.

    `perturb` multiplies every moment and order parameter by 1 ± its rounding error.
    """
    solver = _LoopSolver(problem, order, perturb, size, seed)
    for _ in range(problem.stages):
        solver.add_stage()
    return solver.solved()


class _LoopSolver:
    """Solves a loop with scalar rules, one stage after the other."""

    def __init__(
        self, problem: PracticeProblem, order: int, perturb: np.random.Generator | None, size: int, seed: int
    ) -> None:
        self._problem = problem
        self._order = order
        self._perturb = perturb
        self._loop = Loop.of(problem, size, seed)
        self._cohorts: list[Cohort] = []
        self._additions: list[RoundRows] = []
        self._errors: list[float] = []
        self._residuals: list[float] = []

    def add_stage(self) -> None:
        stage = len(self._errors)
        rows = self._next_rows()
        selector = stage - 1 if stage else None
        cosine = self._loop.parameters.cosine() if stage else 1.0
        last = self._problem.last_stage(stage)
        cohort = make_cohort(rows, self._problem.flip, cosine, selector, stage, last, self._order)
        if self._perturb is not None:
            cohort = _perturbed(cohort, self._perturb)
        self._cohorts.append(cohort)
        self._loop, residual = self._loop.next_stage(cohort, rows, cosine, self._rounded)
        self._check_residual(residual)
        self._residuals.append(residual)
        self._errors.append(self._loop.test_error)
        self._check_error()

    def _rounded(self, newest: Newest) -> Newest:
        """The newest stage's order parameters, off by their rounding error if that is asked for."""
        if self._perturb is None:
            return newest
        one, lower, symmetric = (_off(part, self._perturb) for part in (newest.one, newest.lower, newest.symmetric))
        return Newest(one, symmetric, lower)

    def _next_rows(self) -> RoundRows:
        stage = len(self._errors)
        if stage == 0:
            return self._problem.initial_rows
        plan = self._problem.additions[stage - 1]
        rows = plan(self._errors[-1]) if callable(plan) else plan
        if not isinstance(rows, Addition | MeasuredRows):
            raise InputError(f"additions[{stage - 1}] answers {rows!r}: it must answer an Addition or MeasuredRows")
        self._additions.append(rows)
        return rows

    def _check_residual(self, residual: float) -> None:
        variance = self._loop.parameters.c[-1, -1]
        if not (residual < TOLERANCE and variance > 0):
            stage = self._loop.parameters.stages - 1
            raise ConvergenceError(f"{self._where(stage)}: relative residual {residual:.1e}, C = {variance:.3g}")

    def _check_error(self) -> None:
        error = self._errors[-1]
        if error < RESOLUTION:
            raise ConvergenceError(
                f"{self._where(len(self._errors) - 1)}: test error {error:.1e}; below {RESOLUTION:.0e} double precision"
                " does not resolve the loop: ask for fewer rounds"
            )

    def _where(self, stage: int) -> str:
        return f"practice at phi = {self._problem.phi:g}, lam = {self._problem.ridges[stage]:g}, stage {stage}"

    def solved(self) -> Stages:
        a, c, x = self._loop.parameters
        return Stages(
            additions=self._additions,
            test_error=np.array(self._errors),
            kept=np.cumsum([cohort.mass.sum() for cohort in self._cohorts]),
            candidates=np.cumsum([cohort.candidates for cohort in self._cohorts], dtype=float),
            alignment=a,
            overlap=self._loop.overlaps,
            covariance=c,
            response=x,
            residual=np.array(self._residuals),
            losses=list(self._loop.losses),
        )


# -- certificates -----------------------------------------------------------------------------------------------------


def _certified_square(problem: PracticeProblem, tolerance: float) -> tuple[Stages, Array]:
    solved = solve_stages(problem, ORDERS[0])
    perturbed = solve_stages(problem, ORDERS[0], np.random.default_rng(0))
    change = np.maximum(_change(solved, perturbed), solved.residual)
    if any(needs_quadrature(rows, problem.flip) for rows in (problem.initial_rows, *solved.additions)):
        solved, by_nodes = _with_enough_nodes(problem, solved, max(tolerance, change.max()))  # no node mends rounding
        change = np.maximum(change, by_nodes)
    return solved, _SAFETY * np.maximum.accumulate(change) + _MOMENT_ERROR


def _with_enough_nodes(problem: PracticeProblem, fewest: Stages, tolerance: float) -> tuple[Stages, Array]:
    """The loop with so many nodes that the last two steps of their number changed less than `tolerance`, and that
    change (stages,).

    Raises ConvergenceError if no number of nodes is enough.
    """
    solved = fewest
    last_change = np.full(problem.stages, np.inf)
    change = last_change
    for order in ORDERS[1:]:
        before = solved
        solved = solve_stages(problem, order)
        latest = _change(solved, before)
        change = np.maximum(last_change, latest)
        last_change = latest
        if change.max() <= tolerance:
            return solved, change
    raise ConvergenceError(
        f"practice at phi = {problem.phi:g}: {ORDERS[-1]} nodes a panel still change the result by {change.max():.1e}, "
        f"tolerance = {tolerance:.1e}; are all jumps of functions named in breaks?"
    )


def _certified_convex(problem: PracticeProblem, tolerance: float | None) -> tuple[Stages, Array]:
    """A loop with another loss, and its certificate (stages,).

    The last step of the number of points changed less than `tolerance`. With none given, SAMPLED_TOLERANCE is tried,
    and the certificate says what was reached. Raises ConvergenceError if a given tolerance is missed.
    """
    wanted = SAMPLED_TOLERANCE if tolerance is None else tolerance
    solved = solve_stages(problem, size=SIZES[0], seed=0)
    change = np.full(problem.stages, np.inf)
    for seed, size in enumerate(SIZES[1:], 1):
        before = solved
        solved = solve_stages(problem, size=size, seed=seed)
        change = np.maximum.accumulate(np.maximum(_change(solved, before), solved.residual))
        if change.max() <= wanted:
            return solved, change
    if tolerance is None:
        return solved, change
    raise ConvergenceError(
        f"practice at phi = {problem.phi:g}, {problem.loss}: {SIZES[-1]} points still change the result by"
        f" {change.max():.1e}, tolerance = {tolerance:.1e}"
    )


def _change(one: Stages, other: Stages) -> Array:
    """Largest relative difference of each stage's outputs (stages,); the overlap's is relative to the norm."""
    outputs = one.outputs()
    test_error, _, squared_norm = outputs
    sizes = np.stack([test_error, np.sqrt(squared_norm), squared_norm])
    return (np.abs(other.outputs() - outputs) / sizes).max(axis=0)


def _perturbed(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    error = max(_MOMENT_ERROR, cohort.error)
    mass = _off(cohort.mass, rng, error)
    linear = _off(cohort.linear, rng, error)
    second = _off(cohort.second, rng, error)
    return replace(cohort, mass=mass, linear=linear, second=(second + second.transpose(0, 2, 1)) / 2)


def _off(value: Array, rng: np.random.Generator, error: float = _MOMENT_ERROR) -> Array:
    return value * (1 + error * rng.uniform(-1, 1, np.shape(value)))
