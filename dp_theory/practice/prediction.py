"""The loop's limits, stage by stage, with their certificate."""

from dataclasses import dataclass, fields, replace

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import ROUNDING, Array
from dp_theory.practice.cohorts import Cohort, by_nodes, make_cohort
from dp_theory.practice.convex import ConvexLoop
from dp_theory.practice.dmft import Quadratics, linear_forces, next_stage, overlaps
from dp_theory.practice.practice_problem import Addition, MeasuredRows, PracticePrediction, PracticeProblem, RoundRows
from dp_theory.span.losses import HARD_MARGIN, Loss, Square

TOLERANCE = 1e-9  # of the fixed point, relative
RESOLUTION = 1e-6  # least test error that double precision resolves, to about 1e-6 of it
ORDERS = (
    16,
    24,
    36,
    54,
    80,
    120,
    180,
)  # of the Gauss-Legendre panels; taken in turn until three agree: two may miss the same
ORDER = 24  # where nothing is compared
SIZES = (2**13, 2**15, 2**17)  # points of a cohort, for losses other than the square; taken in turn until two agree
SAMPLED = 5e-3  # to so much of the outputs, by default
_MOMENT = 16 * ROUNDING  # relative error, by rounding, of a moment and of an order parameter
_CAUTION = 4  # times what one perturbed solution shows


@dataclass(frozen=True)
class Stages:
    """A solved loop with scalar rules: order parameters as in `PracticePrediction`, and each stage's residual."""

    additions: list[RoundRows]
    test_error: Array  # (stages,)
    kept: Array  # (stages,)
    candidates: Array  # (stages,)
    alignment: Array  # (stages,)
    overlap: Array  # (stages,), θ·Σ^½w0 normalised
    covariance: Array  # (stages, stages)
    response: Array  # (stages, stages)
    residual: Array  # (stages,)
    losses: list[Loss]  # of each stage


def predict_practice(problem: PracticeProblem, *, tolerance: float | None = None) -> PracticePrediction:
    """Exact limits of every stage, for fresh or accumulated pools; everything else as in `dp_theory.predict`.

    The certificate of a stage is four times the largest change, up to that stage, that either of two things makes. One
    is more nodes for functions that are integrated: their number rises until it twice changes less than `tolerance`,
    1e-9 by default. The other is an error of moments and order parameters of the size of their rounding. For a loss
    other than the square, which is integrated over quasi-random points (dp_theory.practice.answers), it is what four
    times as many of them, drawn anew, changed: some 1e-3 for the fewest, which tolerance = 5e-3, the default, takes.

    lam = 0 is the limit λ → 0+: where a loss with `margin` finds the rows of a stage separable, its direction is that
    of the max-margin solution, overlap and squared_norm are infinite, and the order parameters those of HARD_MARGIN.

    Raises ConvergenceError where the order parameters miss their equations by more than 1e-9, where no number of nodes
    meets `tolerance` or what rounding changes, or where the test error falls below RESOLUTION; InputError where a round
    keeps nothing.
    """
    solved = [_certified(cell, tolerance) for cell in problem.cells()]
    if not problem.shape:
        return replace(solved[0], problem=problem)
    stacked = {
        field.name: np.reshape(
            [getattr(cell, field.name) for cell in solved], (*problem.shape, *np.shape(getattr(solved[0], field.name)))
        )
        for field in fields(PracticePrediction)
        if field.name != "problem"
    }
    return PracticePrediction(problem=problem, **stacked)


def solve_stages(
    problem: PracticeProblem,
    order: int = ORDER,
    perturb: np.random.Generator | None = None,
    size: int = SIZES[0],
    seed: int = 0,
) -> Stages:
    """Solve a loop with scalar rules, by panels of this order; perturb: multiply by 1 ± rounding as it goes.

    size, seed: of the points of a cohort, for losses other than the square. Raises as `predict_practice` does.
    """
    convex = None if isinstance(problem.loss, Square) else ConvexLoop(problem, size, seed)
    cohorts: list[Cohort] = []
    additions: list[RoundRows] = []
    a, c, x = np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))
    errors, overlap, residuals = np.zeros((3, problem.stages))
    for s in range(problem.stages):
        if s == 0:
            rows, cosine = problem.initial_rows, 1.0
        else:
            plan = problem.additions[s - 1]
            rows = plan(errors[s - 1]) if callable(plan) else plan
            if not isinstance(rows, Addition | MeasuredRows):
                raise InputError(f"additions[{s - 1}] answers {rows!r}: it must answer an Addition or MeasuredRows")
            additions.append(rows)
            cosine = a[s - 1] / np.hypot(a[s - 1], np.sqrt(c[s - 1, s - 1]))
        last = problem.stages if problem.accumulate else s + 1
        cohort = make_cohort(rows, problem.flip, cosine, s - 1 if s else None, s, last, order)
        cohorts.append(cohort if perturb is None else _perturbed(cohort, perturb))
        if convex is None:
            a, c, x, forces, residuals[s] = next_stage(problem, cohorts, a, c, x)
        else:
            (a, c, x), residuals[s] = convex.next_stage(cohort, rows, cosine, (a, c, x))
            forces = convex.forces
        where = f"practice at phi = {problem.phi:g}, lam = {problem.ridges[s]:g}, stage {s}"
        if not (residuals[s] < TOLERANCE and c[s, s] > 0):
            raise ConvergenceError(f"{where}: relative residual {residuals[s]:.1e}, C = {c[s, s]:.3g}")
        if perturb is not None:
            _perturb_stage(a, c, x, perturb)
            if convex is None:
                forces = linear_forces(cohorts, a, c, x, Quadratics.square(s + 1))
        overlap[s] = overlaps(problem, forces, a)[s]
        off = c[s, s] + (a[s] - overlap[s]) * (a[s] + overlap[s])  # |θ|² off Σ^½w0; c itself where the truth labels
        errors[s] = np.arctan2(np.sqrt(off), overlap[s]) / np.pi
        if errors[s] < RESOLUTION:
            raise ConvergenceError(
                f"{where}: test error {errors[s]:.1e}; below {RESOLUTION:.0e} double precision does not resolve the"
                " loop: ask for fewer rounds"
            )
    losses = convex.losses if convex else [problem.loss] * problem.stages
    kept, candidates = np.cumsum([(k.mass.sum(), k.candidates) for k in cohorts], axis=0).T
    return Stages(additions, errors, kept, candidates, a, overlap, c, x, residuals, losses)


def _certified(problem: PracticeProblem, tolerance: float | None) -> PracticePrediction:
    """The prediction of a loop with scalar rules."""
    if isinstance(problem.loss, Square):
        solved, off = _square(problem, TOLERANCE if tolerance is None else tolerance)
        certificate = _CAUTION * np.maximum.accumulate(off) + _MOMENT
    else:
        solved, certificate = _convex(problem, SAMPLED if tolerance is None else tolerance)
    error, overlap, squared_norm = _outputs(solved)
    limit = np.array([loss == HARD_MARGIN for loss in solved.losses])
    additions = np.empty(len(solved.additions), object)
    additions[:] = solved.additions
    return PracticePrediction(
        test_error=error,
        overlap=np.where(limit, np.copysign(np.inf, overlap), overlap),
        squared_norm=np.where(limit, np.inf, squared_norm),
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


def _square(problem: PracticeProblem, tolerance: float) -> tuple[Stages, Array]:
    """The loop with the square loss, and what rounding and nodes change in it (stages,)."""
    solved = solve_stages(problem, ORDERS[0])
    perturbed = solve_stages(problem, ORDERS[0], np.random.default_rng(0))
    off = np.maximum(_change(solved, perturbed), solved.residual)
    if any(by_nodes(rows, problem.flip) for rows in (problem.initial_rows, *solved.additions)):
        solved, change = _settled(problem, solved, max(tolerance, off.max()))  # more nodes do not mend rounding
        off = np.maximum(off, change)
    return solved, off


def _convex(problem: PracticeProblem, tolerance: float) -> tuple[Stages, Array]:
    """The loop with another loss, over so many points that four times more of them, drawn anew, changed less than
    `tolerance`, and what they changed so far (stages,). Raises ConvergenceError where no number of points does."""
    change, solved = np.full(problem.stages, np.inf), solve_stages(problem, size=SIZES[0], seed=0)
    for seed, size in enumerate(SIZES[1:], 1):
        before, solved = solved, solve_stages(problem, size=size, seed=seed)
        change = np.maximum.accumulate(np.maximum(_change(solved, before), solved.residual))
        if change.max() <= tolerance:
            return solved, change
    raise ConvergenceError(
        f"practice at phi = {problem.phi:g}, {problem.loss}: {SIZES[-1]} points still change the result by"
        f" {change.max():.1e}, tolerance = {tolerance:.1e}"
    )


def _settled(problem: PracticeProblem, solved: Stages, tolerance: float) -> tuple[Stages, Array]:
    """The loop with so many nodes that the last two steps of their number change less than `tolerance`, and what they
    change, (stages,). solved: with the least number. Raises ConvergenceError if no number of nodes does."""
    change = last = np.full(problem.stages, np.inf)
    for order in ORDERS[1:]:
        before, solved = solved, solve_stages(problem, order)
        latest = _change(solved, before)
        change, last = np.maximum(last, latest), latest
        if change.max() <= tolerance:
            return solved, change
    raise ConvergenceError(
        f"practice at phi = {problem.phi:g}: {ORDERS[-1]} nodes a panel still change the result by {change.max():.1e}, "
        f"tolerance = {tolerance:.1e}; are all jumps of functions named in breaks?"
    )


def _change(one: Stages, other: Stages) -> Array:
    """Largest relative difference of the outputs, the overlap's relative to the norm, at each stage (stages,)."""
    outputs = _outputs(one)
    error, _, squared_norm = outputs
    scale = np.stack([error, np.sqrt(squared_norm), squared_norm])
    return (np.abs(_outputs(other) - outputs) / scale).max(axis=0)


def _outputs(solved: Stages) -> Array:
    """Test error, overlap with the truth and squared norm (3, stages)."""
    own = np.diag(solved.covariance)
    return np.stack([solved.test_error, solved.overlap, solved.alignment**2 + own])


def _perturbed(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    """The cohort with every moment off by its error."""
    moments = (cohort.mass, cohort.linear, cohort.second)
    mass, linear, second = (_off(moment, rng, max(_MOMENT, cohort.error)) for moment in moments)
    return replace(cohort, mass=mass, linear=linear, second=(second + second.transpose(0, 2, 1)) / 2)


def _perturb_stage(a: Array, c: Array, x: Array, rng: np.random.Generator) -> None:
    """The newest stage's order parameters off by rounding, in place."""
    s = len(a) - 1
    a[s], x[s], c[s] = _off(a[s], rng), _off(x[s], rng), _off(c[s], rng)
    c[:, s] = c[s]


def _off(value: Array, rng: np.random.Generator, error: float = _MOMENT) -> Array:
    """The array, every element off by up to `error` of itself."""
    return value * (1 + error * rng.uniform(-1, 1, np.shape(value)))
