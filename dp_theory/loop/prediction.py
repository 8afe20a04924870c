"""The limits of a problem, stage by stage, and their certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.equations import Newest
from dp_theory.loop.groups import Addition, MeasuredRows, RoundRows
from dp_theory.loop.losses import HARD_MARGIN, Square
from dp_theory.loop.placed import Cohort, Kept, PlacedRows, kept_rows
from dp_theory.loop.stages import Loop
from dp_theory.numerics.checks import ROUNDING, Array, require
from dp_theory.outcomes import Prediction, Simulation

if TYPE_CHECKING:
    from jaxtyping import Float

    from dp_theory.loop.problems import Cell, PracticeProblem, SpanProblem

TOLERANCE = 1e-9  # relative error of the order parameters, and by default of quadrature
RESOLUTION = 1e-6  # least test error that double precision resolves, to about 1e-6 of it

# Orders of the quadrature, taken in turn until they agree.
ORDERS = (16, 24, 36, 54, 80, 120, 180)  # of the panels of one score
ORDER = 24  # of these where no certificate is asked for
ORDERS_OF_SEVERAL = (8, 12, 18, 27, 40, 60, 90, 128)  # where a rule sees several directions
ORDERS_OF_NODES = (4, 8, 11, 14, 18, 22, 27, 32, 39, 46, 55, 64)  # for another loss, without rounds
NODES_TOLERANCE = 1e-8

SIZES = (2**13, 2**15, 2**17)  # points of a cohort, for other losses with rounds; taken in turn until two agree
SAMPLED_TOLERANCE = 5e-3  # relative error that points may leave by default
MOST_SLOPES = 1500  # of a row's forces by its scores, over all cohorts: 16 stages, 400 MB

_MOMENT_ERROR = 16 * ROUNDING  # relative error, by rounding, of a moment and of an order parameter
_MEAN_ERROR = 64 * ROUNDING  # of a mean over nodes
_TRIED_ERROR = 1e-7  # of such means, for their effect
_SAFETY = 4  # factor of the certificate over what one perturbed solution shows, or more nodes change
_RECENT = 12  # kept rows that are remembered for the next cell, which may share its groups


@dataclass(frozen=True)
class Stages:
    """A solved scalar problem, with plans resolved; `overlap` is over |Σ^½w0|, and `residual` relative."""

    loop: Loop
    additions: list[RoundRows]
    test_error: Float[Array, " stages"]
    overlap: Float[Array, " stages"]
    residual: Float[Array, " stages"]
    by_quadrature: bool

    @property
    def kept(self) -> Float[Array, " stages"]:
        return self._so_far([rows.cohort.mass.sum() for rows in self.loop.cohorts])

    @property
    def candidates(self) -> Float[Array, " stages"]:
        return self._so_far([rows.cohort.candidates for rows in self.loop.cohorts])

    def _so_far(self, sizes: list[float]) -> Array:
        return np.cumsum(np.bincount([rows.cohort.first for rows in self.loop.cohorts], sizes), dtype=float)

    def outputs(self) -> Float[Array, "3 stages"]:
        a, c, _ = self.loop.parameters
        return np.stack([self.test_error, self.overlap, np.square(a).sum(1) + np.diag(c)])


def predict_span(problem: SpanProblem, *, tolerance: float | None = None) -> Prediction:
    """The limits of a learner on groups of rows."""
    names = [field.name for field in fields(Prediction)]
    cells = [_predicted(solved, certificate) for solved, certificate in _certified(problem.cells(), tolerance)]
    found = {name: np.reshape([cell[name][0] for cell in cells], problem.shape)[()] for name in names}
    found["keep_fraction"] = np.reshape([cell["kept"][0] for cell in cells], problem.shape)[()]
    return Prediction(**found)


def predict_practice(problem: PracticeProblem, *, tolerance: float | None = None) -> PracticePrediction:
    """The limits of every stage of a loop.

    For separable rows at lam = 0, overlap and norm are infinite, and the order parameters are those of HARD_MARGIN.
    """
    solved = [_predicted(*cell) for cell in _certified(problem.cells(), tolerance)]
    fields_of = {
        name: np.reshape([cell[name] for cell in solved], (*problem.shape, *np.shape(solved[0][name])))
        for name in solved[0]
    }
    return PracticePrediction(problem=problem, **fields_of)


def _predicted(solved: Stages, certificate: Array) -> dict[str, Array]:
    test_error, overlap, squared_norm = solved.outputs()
    alignment, covariance, response = solved.loop.parameters
    has_limit = np.array([loss == HARD_MARGIN for loss in solved.loop.losses])
    additions = np.empty(len(solved.additions), object)
    additions[:] = solved.additions
    return {
        "test_error": test_error,
        "overlap": np.where(has_limit, np.copysign(np.inf, overlap), overlap),
        "squared_norm": np.where(has_limit, np.inf, squared_norm),
        "keep_fraction": solved.kept / solved.candidates,
        "certificate": certificate,
        "additions": additions,
        "kept": solved.kept,
        "candidates": solved.candidates,
        "alignment": alignment[:, 0],
        "covariance": covariance,
        "response": response,
    }


# -- the stages -------------------------------------------------------------------------------------------------------


def solve_stages(problem: PracticeProblem, size: int = SIZES[0]) -> Stages:
    """Solve a loop with scalar rules once, without a certificate."""
    (cell,) = problem.cells()
    return solve_cell(cell, size)


def solve_cell(cell: Cell, size: int = SIZES[0]) -> Stages:
    """Solve a scalar problem once, without a certificate."""
    return _Solver(cell, ORDER, size=size).solved()


@dataclass
class _Solver:
    """One stage after the other; `perturb` multiplies every moment and order parameter by 1 ± its rounding error."""

    cell: Cell
    order: int
    perturb: np.random.Generator | None = None
    size: int = SIZES[0]
    seed: int = 0
    rows: Callable[[PlacedRows, int], Kept] = kept_rows

    def solved(self, previous: Loop | None = None) -> Stages:
        cell = self.cell
        by_points = not isinstance(cell.loss, Square) and len(cell.additions) > 0
        by_nodes = not isinstance(cell.loss, Square) and not by_points
        if by_points:
            self._check_memory()
        loop = Loop.of(cell)
        by_quadrature = False
        additions: list[RoundRows] = []
        errors: list[float] = []
        overlaps: list[float] = []
        residuals: list[float] = []
        for stage in range(cell.stages):
            placed = cell.initial if stage == 0 else self._placed(additions, errors[-1], loop)
            by_quadrature = by_quadrature or any(one.needs_quadrature for one in placed)
            selector = stage - 1 if stage else None
            last = cell.last_stage(stage)
            cohorts = [Cohort.of(one, self.rows(one, self.order), selector, stage, last) for one in placed]
            kept = sum(float(cohort.mass.sum()) for cohort in cohorts)
            require("keep_fraction", kept, kept > 0, "be positive: no row is kept with a positive weight")
            loop = loop.with_rows([self._perturbed(cohort) for cohort in cohorts])
            if by_nodes:
                error = None
                if self.perturb is not None:
                    error = _TRIED_ERROR * self.perturb.uniform(-1, 1, cell.basis.shape[1] + 2)
                loop, residual = loop.first_stage(self.order, previous, error)
            else:
                if by_points:
                    for cohort, one in zip(cohorts, placed, strict=True):
                        loop = loop.with_points(cohort, one, self.size, self.seed)
                loop, residual = loop.next_stage(self._rounded)
            self._check_residual(loop, residual)
            error, overlap = loop.outcome()
            errors.append(error)
            overlaps.append(overlap)
            residuals.append(residual)
            self._check_error(errors)
        return Stages(loop, additions, np.array(errors), np.array(overlaps), np.array(residuals), by_quadrature)

    def _placed(self, additions: list[RoundRows], error: float, loop: Loop) -> tuple[PlacedRows]:
        place = len(additions)
        plan = self.cell.additions[place]
        rows = plan(error) if callable(plan) else plan
        if not isinstance(rows, Addition | MeasuredRows):
            raise InputError(f"additions[{place}] answers {rows!r}: it must answer an Addition or MeasuredRows")
        additions.append(rows)
        flip = rows.flips(self.cell.flip)
        return (PlacedRows(rows, flip, np.append(self.cell.labeller, 0.0), loop.parameters.selector()[None]),)

    def _perturbed(self, cohort: Cohort) -> Cohort:
        if self.perturb is None:
            return cohort
        kept = cohort.kept
        error = max(_MOMENT_ERROR, kept.error)
        mass, linear, second = (_off(part, self.perturb, error) for part in (kept.mass, kept.linear, kept.second))
        second = (second + second.transpose(0, 2, 1)) / 2
        return replace(cohort, kept=replace(kept, mass=mass, linear=linear, second=second))

    def _rounded(self, newest: Newest) -> Newest:
        if self.perturb is None:
            return newest
        return Newest(*(_off(part, self.perturb) for part in newest))

    def _check_memory(self) -> None:
        stages = self.cell.stages
        trained = np.arange(1, stages + 1) if self.cell.accumulate else np.ones(stages)
        if np.sum(trained**2) > MOST_SLOPES:
            raise InputError(
                f"{stages - 1} rounds that accumulate are more than memory allows under {self.cell.loss}: ask for"
                " fewer, or take the square loss"
            )

    def _check_residual(self, loop: Loop, residual: float) -> None:
        variance = loop.parameters.c[-1, -1]
        if not (residual < TOLERANCE and variance > 0):
            stage = loop.parameters.stages - 1
            raise ConvergenceError(f"{self._where(stage)}: relative residual {residual:.1e}, C = {variance:.3g}")

    def _check_error(self, errors: Sequence[float]) -> None:
        if errors[-1] < RESOLUTION and len(self.cell.additions):
            raise ConvergenceError(
                f"{self._where(len(errors) - 1)}: test error {errors[-1]:.1e}; below {RESOLUTION:.0e} double precision"
                " does not resolve the loop: ask for fewer rounds"
            )

    def _where(self, stage: int) -> str:
        return f"phi = {self.cell.phi:g}, lam = {self.cell.ridges[stage]:g}, stage {stage}"


def _off(value: Array, rng: np.random.Generator, error: float = _MOMENT_ERROR) -> Array:
    return value * (1 + error * rng.choice((-1.0, 1.0), np.shape(value)))


# -- certificates -----------------------------------------------------------------------------------------------------


def _certified(cells, tolerance: float | None) -> list[tuple[Stages, Array]]:
    recent = lru_cache(_RECENT)(kept_rows)
    found = []
    for cell in cells:
        if isinstance(cell.loss, Square):
            found.append(_by_moments(cell, TOLERANCE if tolerance is None else tolerance, recent))
        elif len(cell.additions):
            found.append(_by_points(cell, tolerance))
        else:
            found.append(_by_nodes(cell, NODES_TOLERANCE if tolerance is None else tolerance))
    return found


def _by_moments(cell: Cell, tolerance: float, recent: Callable[[PlacedRows, int], Kept]) -> tuple[Stages, Array]:
    """The certificate of the square loss: what rounding does, as a perturbed solution shows."""
    several = any(len(placed.seen) > 1 for placed in cell.initial)
    orders = ORDERS_OF_SEVERAL if several else ORDERS
    solved = _Solver(cell, orders[0], rows=recent).solved()
    rounding = _MOMENT_ERROR + _SAFETY * _effect_of_rounding(cell, orders[0], solved, recent)
    if not solved.by_quadrature:
        return solved, np.maximum.accumulate(rounding)
    agreements = 2 if len(cell.additions) else 1  # two orders may miss the same feature of a learner's rule
    changes: list[Array] = []
    for order in orders[1:]:
        before = solved
        solved = _Solver(cell, order, rows=recent).solved()
        changes = [*changes, _SAFETY * _change(solved, before)][-agreements:]
        allowed = max(tolerance, float(rounding.max()))  # no node mends rounding
        if len(changes) == agreements and np.max(changes) <= allowed:
            return solved, np.maximum.accumulate(rounding + np.max(changes, axis=0))
    raise _more_nodes(cell, orders[-1], float(np.max(changes)), tolerance)


def _effect_of_rounding(cell: Cell, order: int, solved: Stages, recent: Callable[[PlacedRows, int], Kept]) -> Array:
    if not np.isfinite(solved.loop.parameters.c).all():  # the ridgeless peak
        return np.full(cell.stages, np.inf)
    try:
        perturbed = _Solver(cell, order, np.random.default_rng(0), rows=recent).solved()
    except ConvergenceError:
        return np.full(cell.stages, np.inf)
    own = np.maximum(solved.residual, 4 * ROUNDING * np.array(solved.loop.conditions))
    return np.maximum(_change(solved, perturbed), own)


def _by_nodes(cell: Cell, tolerance: float) -> tuple[Stages, Array]:
    """The certificate of another loss without rounds: the last change by more nodes, and what rounding does."""
    change = np.inf
    found: list[tuple[int, Stages]] = []
    for order in ORDERS_OF_NODES:
        before = found[-1][1] if found else None
        try:
            solved = _Solver(cell, order).solved(before.loop if before else None)
        except ConvergenceError:
            if found or order == ORDERS_OF_NODES[-1]:
                raise
            continue
        found.append((order, solved))
        if before is not None:
            change = max(float(_change(solved, before).max()), float(solved.residual.max()))
            if change <= tolerance:
                few, one = found[-3:][0]  # the effect of an error needs few nodes
                other = _Solver(cell, few, np.random.default_rng(0)).solved(one.loop)
                share = (_MEAN_ERROR + solved.residual) / _TRIED_ERROR
                return solved, change + _SAFETY * share * _change(one, other)
    raise _more_nodes(cell, ORDERS_OF_NODES[-1], change, tolerance)


def _more_nodes(cell: Cell, order: int, change: float, tolerance: float) -> ConvergenceError:
    return ConvergenceError(
        f"phi = {cell.phi:g}, lam = {cell.ridges[-1]:g}: quadrature of order {order} still changes the result by "
        f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
    )


def _by_points(cell: Cell, tolerance: float | None) -> tuple[Stages, Array]:
    """The certificate of another loss with rounds: what four times as many points, drawn anew, changed."""
    wanted = SAMPLED_TOLERANCE if tolerance is None else tolerance
    solved = _Solver(cell, ORDER, size=SIZES[0]).solved()
    change = np.full(cell.stages, np.inf)
    for seed, size in enumerate(SIZES[1:], 1):
        before = solved
        solved = _Solver(cell, ORDER, size=size, seed=seed).solved()
        change = np.maximum.accumulate(np.maximum(_change(solved, before), solved.residual))
        if change.max() <= wanted:
            return solved, change
    if tolerance is None:
        return solved, change
    raise ConvergenceError(
        f"practice at phi = {cell.phi:g}, {cell.loss}: {SIZES[-1]} points still change the result by"
        f" {change.max():.1e}, tolerance = {tolerance:.1e}"
    )


def _change(one: Stages, other: Stages) -> Array:
    outputs = one.outputs()
    test_error, _, squared_norm = outputs
    sizes = np.stack([test_error, np.sqrt(squared_norm), squared_norm])
    return (np.abs(other.outputs() - outputs) / sizes).max(axis=0)


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The limit of the loop as n, d → ∞, for every stage.

    Fields have the shape (*S, stages), where S is the problem's own, unless another is given.

    Attributes
    ----------
    keep_fraction
        Rows kept over rows looked at, in all rounds so far.
    problem
        What was asked.
    additions
        The rows of each round, with plans resolved, (*S, rounds).
    kept, candidates
        Rows kept and looked at so far, in units of n.
    alignment
        Order parameter a_s: θ_s along the unit vector of Σ^½w_g.
    covariance, response
        Order parameters C and X, (*S, stages, stages). dp_theory.loop.equations defines all three.
    """

    problem: PracticeProblem
    additions: np.ndarray
    kept: Float[Array, "*cells stages"]
    candidates: Float[Array, "*cells stages"]
    alignment: Float[Array, "*cells stages"]
    covariance: Float[Array, "*cells stages stages"]
    response: Float[Array, "*cells stages stages"]


@dataclass(frozen=True)
class PracticeSimulation(Simulation):
    """Independent runs of the loop in dimension d; means are (*S, stages).

    Attributes
    ----------
    test_errors, kept
        Test error, and rows kept so far in units of n, of every run: (*S, trials, stages).
    row_errors
        Share that each stage gets wrong of a round's rows that were misclassified when added, nan where there were
        none: (*S, trials, rounds, stages).
    """

    test_errors: Float[Array, "*cells trials stages"]
    row_errors: Float[Array, "*cells trials rounds stages"]
    kept: Float[Array, "*cells trials stages"]
