"""The limits of a problem, stage by stage, and their certificate."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.equations import Newest
from dp_theory.loop.groups import Addition
from dp_theory.loop.losses import HARD_MARGIN
from dp_theory.loop.placed import Cohort, PlacedRows
from dp_theory.loop.points import draw_points
from dp_theory.loop.stages import Loop
from dp_theory.numerics.checks import ROUNDING, Array, Float, require
from dp_theory.outcomes import Prediction, Simulation

if TYPE_CHECKING:
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

_MOMENT_ERROR = 16 * ROUNDING  # relative error, by rounding, of a moment and of an order parameter
_MEAN_ERROR = 64 * ROUNDING  # of a mean over nodes
_TRIED_ERROR = 1e-7  # of such means, for their effect
_SAFETY = 4  # factor of the certificate over what one perturbed solution shows, or more nodes change


@dataclass(frozen=True)
class Stages:
    """A solved scalar problem; `overlap` is over |Σ^½w0|, and `residual` relative."""

    loop: Loop
    test_error: Float[Array, " stages"]
    overlap: Float[Array, " stages"]
    residual: Float[Array, " stages"]

    @property
    def cohorts(self) -> list[Cohort]:
        return [rows.cohort for rows in self.loop.cohorts]

    @property
    def additions(self) -> list[Addition]:
        """What the rounds added, with plans resolved."""
        return [cohort.placed.rows for cohort in self.cohorts if cohort.first]

    @property
    def kept(self) -> Float[Array, " stages"]:
        return self._so_far([cohort.kept.mass.sum() for cohort in self.cohorts])

    @property
    def candidates(self) -> Float[Array, " stages"]:
        return self._so_far([cohort.candidates for cohort in self.cohorts])

    def _so_far(self, sizes: list[float]) -> Array:
        return np.cumsum(np.bincount([cohort.first for cohort in self.cohorts], sizes), dtype=float)

    def outputs(self) -> Float[Array, "3 stages"]:
        a, c, _ = self.loop.parameters
        return np.stack([self.test_error, self.overlap, np.square(a).sum(1) + np.diag(c)])


def predicted(problem: "SpanProblem | PracticeProblem", tolerance: float | None) -> dict[str, Array]:
    """The fields of a `PracticePrediction` but the problem: the limits of every stage.

    For separable rows at lam = 0, overlap and norm are infinite, and the order parameters are those of HARD_MARGIN.
    """
    found = []
    for cell in problem.cells():
        if cell.is_square:
            solved, certificate = _by_moments(cell, TOLERANCE if tolerance is None else tolerance)
        elif cell.rounds:
            solved, certificate = _by_points(cell, tolerance)
        else:
            solved, certificate = _by_nodes(cell, NODES_TOLERANCE if tolerance is None else tolerance)
        test_error, overlap, squared_norm = solved.outputs()
        alignment, covariance, response = solved.loop.parameters
        has_limit = np.array([loss == HARD_MARGIN for loss in solved.loop.losses])
        found.append(
            {
                "test_error": test_error,
                "overlap": np.where(has_limit, np.copysign(np.inf, overlap), overlap),
                "squared_norm": np.where(has_limit, np.inf, squared_norm),
                "keep_fraction": solved.kept / solved.candidates,
                "certificate": certificate,
                "additions": np.array(solved.additions, object),
                "kept": solved.kept,
                "candidates": solved.candidates,
                "alignment": alignment[:, 0],
                "covariance": covariance,
                "response": response,
            }
        )
    return {
        name: np.reshape([cell[name] for cell in found], (*problem.shape, *value.shape))
        for name, value in found[0].items()
    }


# -- the stages -------------------------------------------------------------------------------------------------------


def solve_stages(problem: "PracticeProblem", size: int = SIZES[0]) -> Stages:
    """Solve a loop with scalar rules once, without a certificate."""
    (cell,) = problem.cells()
    return solve_cell(cell, size=size)


def solve_cell(
    cell: "Cell",
    order: int = ORDER,
    *,
    size: int = SIZES[0],
    seed: int = 0,
    perturb: np.random.Generator | None = None,
    near: Loop | None = None,
) -> Stages:
    """Solve a scalar problem once, one stage after the other, without a certificate.

    `size` and `seed` are those of points, where a loop has another loss; `near` is a solution to begin with, where it
    has no rounds. `perturb` multiplies every moment and order parameter by 1 ± its rounding error.
    """

    def off(value: Array, error: float = _MOMENT_ERROR) -> Array:
        return value if perturb is None else value * (1 + error * perturb.choice((-1.0, 1.0), np.shape(value)))

    loop = Loop.of(cell)
    found: list[tuple[float, float, float]] = []
    for stage in range(cell.stages):
        cohorts, points = [], []
        for placed in (_placed(cell, stage - 1, found[-1][0], loop),) if stage else cell.initial:
            kept = placed.kept(order)
            cohort = Cohort.of(placed, kept, stage - 1 if stage else None, stage, cell.last_stage(stage))
            mass, linear, second = (off(part, max(_MOMENT_ERROR, kept.error)) for part in cohort.kept[1:4])
            second = (second + second.transpose(0, 2, 1)) / 2
            cohorts.append(replace(cohort, kept=cohort.kept._replace(mass=mass, linear=linear, second=second)))
            if cell.rounds and not cell.is_square:
                rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stage,)))
                points.append(draw_points(cohorts[-1], size, rng))
        size_kept = sum(float(cohort.kept.mass.sum()) for cohort in cohorts)
        require("keep_fraction", size_kept, size_kept > 0, "be positive: no row is kept with a positive weight")
        loop = loop.with_rows(cohorts, points)
        if cell.rounds or cell.is_square:
            loop, residual = loop.next_stage(lambda newest: Newest(*map(off, newest)))
        else:
            tried = None if perturb is None else _TRIED_ERROR * perturb.uniform(-1, 1, cell.basis.shape[1] + 2)
            loop, residual = loop.first_stage(order, near, tried)
        error, overlap = loop.outcome()
        found.append((error, overlap, residual))
        _require_resolved(loop, residual, error)
    return Stages(loop, *np.array(found).T)


def _placed(cell: "Cell", place: int, error: float, loop: Loop) -> PlacedRows:
    plan = cell.additions[place]
    rows = plan(error) if callable(plan) else plan
    if not isinstance(rows, Addition):
        raise InputError(f"additions[{place}] answers {rows!r}: it must answer an Addition")
    return PlacedRows(rows, rows.flips(cell.flip), np.append(cell.labeller, 0.0), loop.parameters.selector()[None])


def _require_resolved(loop: Loop, residual: float, error: float) -> None:
    cell = loop.cell
    stage = loop.parameters.stages - 1
    where = f"phi = {cell.phi:g}, lam = {cell.ridges[stage]:g}, stage {stage}"
    variance = loop.parameters.c[-1, -1]
    if not (residual < TOLERANCE and variance > 0):
        raise ConvergenceError(f"{where}: relative residual {residual:.1e}, C = {variance:.3g}")
    if error < RESOLUTION and cell.rounds:
        raise ConvergenceError(
            f"{where}: test error {error:.1e}; below {RESOLUTION:.0e} double precision does not resolve the loop: ask"
            " for fewer rounds"
        )


# -- certificates -----------------------------------------------------------------------------------------------------


def _by_moments(cell: "Cell", tolerance: float) -> tuple[Stages, Array]:
    """The certificate of the square loss: what rounding does, as a perturbed solution shows, and more nodes change."""
    several = any(len(placed.seen) > 1 for placed in cell.initial)
    first, *orders = ORDERS_OF_SEVERAL if several else ORDERS
    solved = solve_cell(cell, first)
    rounding = _MOMENT_ERROR + _SAFETY * _effect_of_rounding(solved, first)
    if not any(cohort.placed.needs_quadrature for cohort in solved.cohorts):
        return solved, np.maximum.accumulate(rounding)
    agreements = 2 if cell.rounds else 1  # two orders may miss the same feature of a learner's rule
    changes = [np.full(cell.stages, np.inf)] * agreements
    for order in orders:
        before = solved
        solved = solve_cell(cell, order)
        changes = [*changes[1:], _SAFETY * _change(solved, before)]
        allowed = max(tolerance, float(rounding.max()))  # no node mends rounding
        if np.max(changes) <= allowed:
            return solved, np.maximum.accumulate(rounding + np.max(changes, axis=0))
    raise _more_nodes(cell, orders[-1], float(np.max(changes)), tolerance)


def _effect_of_rounding(solved: Stages, order: int) -> Array:
    cell = solved.loop.cell
    if not np.isfinite(solved.loop.parameters.c).all():  # the ridgeless peak
        return np.full(cell.stages, np.inf)
    try:
        perturbed = solve_cell(cell, order, perturb=np.random.default_rng(0))
    except ConvergenceError:
        return np.full(cell.stages, np.inf)
    own = np.maximum(solved.residual, 4 * ROUNDING * np.array(solved.loop.conditions))
    return np.maximum(_change(solved, perturbed), own)


def _by_nodes(cell: "Cell", tolerance: float) -> tuple[Stages, Array]:
    """The certificate of another loss without rounds: the last change by more nodes, and what rounding does."""
    change = np.inf
    found: list[tuple[int, Stages]] = []
    for order in ORDERS_OF_NODES:
        before = found[-1][1] if found else None
        try:
            solved = solve_cell(cell, order, near=before.loop if before else None)
        except ConvergenceError:
            if found or order == ORDERS_OF_NODES[-1]:
                raise
            continue
        found.append((order, solved))
        if before is not None:
            change = max(float(_change(solved, before).max()), float(solved.residual.max()))
            if change <= tolerance:
                few, one = found[-3:][0]  # the effect of an error needs few nodes
                other = solve_cell(cell, few, perturb=np.random.default_rng(0), near=one.loop)
                share = (_MEAN_ERROR + solved.residual) / _TRIED_ERROR
                return solved, change + _SAFETY * share * _change(one, other)
    raise _more_nodes(cell, ORDERS_OF_NODES[-1], change, tolerance)


def _more_nodes(cell: "Cell", order: int, change: float, tolerance: float) -> ConvergenceError:
    return ConvergenceError(
        f"phi = {cell.phi:g}, lam = {cell.ridges[-1]:g}: quadrature of order {order} still changes the result by "
        f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
    )


def _by_points(cell: "Cell", tolerance: float | None) -> tuple[Stages, Array]:
    """The certificate of another loss with rounds: what four times as many points, drawn anew, changed."""
    wanted = SAMPLED_TOLERANCE if tolerance is None else tolerance
    solved = solve_cell(cell)
    change = np.full(cell.stages, np.inf)
    for seed, size in enumerate(SIZES[1:], 1):
        before = solved
        solved = solve_cell(cell, size=size, seed=seed)
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
    additions
        The rows of each round, with plans resolved, (*S, rounds).
    kept, candidates
        Rows kept and looked at so far, in units of n.
    alignment
        Order parameter a_s: θ_s along the unit vector of Σ^½w_g.
    covariance, response
        Order parameters C and X, (*S, stages, stages). dp_theory.loop.equations defines all three.
    """

    problem: "PracticeProblem"
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
