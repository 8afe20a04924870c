"""The practice loop under any convex loss: one more stage by root finding.

The equations are those of dp_theory.practice.dmft, with the means of forces from dp_theory.practice.forces. A new stage
s has the 2s + 3 unknowns a_s, C_s0 … C_ss and X_s0 … X_ss. They are found in two steps:

1. Over few points, by Powell's hybrid method, from one start after another until one leads to a root.
2. Over all points, by Broyden's method from that root, with a quadratic loss fitted there as control variate.

The solver works with coordinates in which every vector stands for possible order parameters. They are, in this order:
a_s; the row s of C's Cholesky factor, with the logarithm of its diagonal element; the row s of X, with the logarithm of
X_ss. All are in units of the stage before: lengths in units of |θ_s-1|, responses in units of X_s-1,s-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import root

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array
from dp_theory.practice.additions import Addition, RoundRows
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Forces, OrderParameters, Quadratics, SolvedStage, residuals
from dp_theory.practice.forces import QuadraticLoss, SampledCohort, closest_quadratic, mean_forces
from dp_theory.practice.points import draw_points
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.span.losses import Loss, candidate_limits

if TYPE_CHECKING:
    from jaxtyping import Float

FEW = 2**11  # points of a cohort with which a stage is solved first
EXACT = 1e-9  # relative residual at which a stage counts as solved
NEAR = 1e-6  # relative residual over few points from which the root over all points is looked for
MOST_SLOPES = 1500  # of a row's forces by its scores, over all cohorts: 16 stages, 400 MB
WRONG = 1e6  # residual where coordinates stand for no order parameters, or forces overflow

_DIFFERENCE = 1e-6  # of the coordinates, for derivatives
_BROYDEN_STEPS = 60
_BROYDEN_END = EXACT / 1000  # residual at which Broyden's method ends
_SHORTER = 3  # factor by which a step of Broyden's method is cut if it leads away from the root
_POWELL = {"xtol": 1e-10, "factor": 1.0}  # options of scipy.optimize.root

_LARGE_RIDGE = 1.0  # from which a learner is shrunk in proportion to it
_FIRST_START = np.array([0.5, 0.0, -1.0])  # coordinates of stage 0 to begin with
_NEW_PART = 0.5  # by how much the logarithm of a learner's part that is new falls per stage, in the first start
_LENGTHS = 4.0 ** np.arange(-2, 4)  # scales of |θ_s| of further starts
_RESPONSES = 10.0 ** np.arange(-1, 9)  # scales of X_ss of further starts
_MOST_STARTS = 5  # further starts, those that miss the equations least


class _Root(NamedTuple):
    """Coordinates of the newest stage, their largest relative residual, and the quadratic losses used as control."""

    coordinates: Array
    miss: float
    controls: Quadratics


class ConvexLoop:
    """A loop with scalar rules whose stages are solved one after the other, over `size` points per cohort.

    Attributes
    ----------
    losses
        The losses of the stages solved so far. They are the problem's loss, or HARD_MARGIN where lam = 0 and the rows
        are separable.
    """

    def __init__(self, problem: PracticeProblem, size: int, seed: int) -> None:
        """Begin a loop before its first stage. `size` is a power of two; `seed` decides the points.

        Raises InputError for so many stages that their forces would not fit into memory.
        """
        stages_of_cohorts = np.arange(1, problem.stages + 1) if problem.accumulate else np.ones(problem.stages)
        if np.sum(stages_of_cohorts**2) > MOST_SLOPES:
            raise InputError(
                f"{problem.stages - 1} rounds that accumulate are more than memory allows under {problem.loss}: ask for"
                " fewer, or take the square loss"
            )
        self._problem = problem  # with the ridges that solved stages have: at lam = 0 HARD_MARGIN has a ridge
        self._size = size
        self._seed = seed
        self._cohorts: list[SampledCohort] = []
        self._forces = Forces.of_no_stage()
        self._controls = Quadratics.square(0)
        self.losses: list[Loss] = []

    def next_stage(self, cohort: Cohort, rows: RoundRows, cosine: float, before: OrderParameters) -> SolvedStage:
        """Solve one more stage, which trains on one more cohort.

        Parameters
        ----------
        cohort, rows
            The rows of the newest round, and what they were made from.
        cosine
            Cosine between their selector's θ_k and Σ^½w_g; 1 for the first pool.
        before
            Order parameters of the stages before.

        Raises
        ------
        InputError
            For rows that are known by their moments alone.
        ConvergenceError
            Where no order parameters are found that meet the equations.
        """
        if not isinstance(rows, Addition):
            raise InputError("rows that are known by their moments alone are for the square loss: give a rule")
        stage = before.stages
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(stage,)))
        points = draw_points(cohort, rows, rows.flips(self._problem.flip), cosine, self._size, rng)
        self._cohorts.append(SampledCohort.of(points))
        ridge = float(self._problem.ridges[stage])
        miss = np.inf
        for loss, lam in candidate_limits(self._problem.loss, ridge):
            found = self._solve(loss, lam, before)
            miss = found.miss
            if miss <= EXACT:
                parameters = parameters_at(before, found.coordinates)
                self._accept(loss, lam, parameters, found.controls)
                return SolvedStage(parameters, self._forces, miss)
        remedy = "give a larger lam, if the rows are about to be separable"
        if ridge == 0:
            remedy = "give a small lam, such as 0.03: of max-margin solutions, this one was not found"
        elif ridge >= _LARGE_RIDGE:
            remedy = "the ridge is large enough: this is a failure of the search, not of the problem"
        raise ConvergenceError(
            f"practice at phi = {self._problem.phi:g}, lam = {ridge:g}, {self._problem.loss}, stage {stage}: the order"
            f" parameters miss their equations by {miss:.1e}; {remedy}"
        )

    def _solve(self, loss: Loss, lam: float, before: OrderParameters) -> _Root:
        """The newest stage with this loss and ridge; the root is good if its `miss` is at most EXACT."""
        equations = _ConvexEquations(
            self._with_ridge(lam),
            loss,
            before,
            self._forces,
            [cohort.first(FEW) for cohort in self._cohorts],
            self._controls.extended(0.0, 1.0),
        )
        rough = _rough_root(equations)
        if rough.miss > NEAR:
            return rough
        parameters = parameters_at(before, rough.coordinates)
        fitted = self._controls.extended(*closest_quadratic(equations.cohorts, parameters, loss))
        controlled = replace(equations, controls=fitted)
        at_root = controlled(rough.coordinates)
        steps = _DIFFERENCE * np.eye(len(rough.coordinates))
        jacobian = np.column_stack([(controlled(rough.coordinates + step) - at_root) / _DIFFERENCE for step in steps])
        try:
            inverse = np.linalg.inv(jacobian)
        except np.linalg.LinAlgError:
            return _Root(rough.coordinates, float(np.abs(at_root).max()), fitted)
        over_all = replace(controlled, cohorts=self._cohorts)
        return _Root(*broyden(over_all, rough.coordinates, inverse), fitted)

    def _with_ridge(self, lam: float) -> PracticeProblem:
        """The problem with this ridge at the newest stage."""
        ridges = self._problem.ridges.copy()
        ridges[len(self.losses)] = lam
        return replace(self._problem, lam=ridges.tolist())

    def _accept(self, loss: Loss, lam: float, parameters: OrderParameters, controls: Quadratics) -> None:
        """Keep the newest stage as solved: evaluate the forces of all rows on it."""
        stage = parameters.stages - 1
        self._problem = self._with_ridge(lam)
        self._controls = controls
        self._forces = mean_forces(self._cohorts, self._forces, parameters, loss, controls)
        self.losses.append(loss)
        control = QuadraticLoss.of_stage(controls, stage)
        for cohort in self._cohorts:
            if cohort.points.cohort.trains(stage):
                of_loss = cohort.newest_forces(loss, cohort.of_loss, parameters)
                of_control = cohort.newest_forces(control, cohort.of_control, parameters)
                cohort.of_loss = cohort.of_loss.extended(*of_loss)
                cohort.of_control = cohort.of_control.extended(*of_control)


@dataclass(frozen=True)
class _ConvexEquations:
    """The equations of a new stage, as a function of its coordinates.

    `before` and `forces_before` are the order parameters and mean forces of the stages before.
    """

    problem: PracticeProblem
    loss: Loss
    before: OrderParameters
    forces_before: Forces
    cohorts: Sequence[SampledCohort]
    controls: Quadratics

    def __call__(self, coordinates: Array) -> Array:
        """Relative residuals, as many as coordinates; WRONG where the coordinates stand for no order parameters."""
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                parameters = parameters_at(self.before, coordinates)
                forces = mean_forces(self.cohorts, self.forces_before, parameters, self.loss, self.controls)
                off = residuals(self.problem, forces, parameters)
                return np.clip(relative_residuals(off, parameters), -WRONG, WRONG)
        except (np.linalg.LinAlgError, FloatingPointError, ConvergenceError):  # the loss's prox may not converge
            return np.full(len(coordinates), WRONG)

    def largest(self, coordinates: Array) -> float:
        """The largest relative residual."""
        return float(np.abs(self(coordinates)).max())


def _rough_root(equations: _ConvexEquations) -> _Root:
    """A root by Powell's method, from the starts in turn until a residual is at most NEAR; else that of the last."""
    found = _Root(np.zeros(0), np.inf, equations.controls)
    for guess in (*_ridge_starts(equations), *starts(equations.before, equations.largest)):
        coordinates = root(equations, guess, method="hybr", options=_POWELL).x
        found = _Root(coordinates, equations.largest(coordinates), equations.controls)
        if found.miss <= NEAR:
            break
    return found


# -- coordinates ------------------------------------------------------------------------------------------------------


def parameters_at(before: OrderParameters, coordinates: Float[np.ndarray, " unknowns"]) -> OrderParameters:
    """The order parameters with one more stage, which has these coordinates (2s + 3,)."""
    s = before.stages
    norm, response = units(before)
    row = norm * np.append(coordinates[1 : s + 1], np.exp(coordinates[s + 1]))
    factor = np.pad(np.linalg.cholesky(before.c), (0, 1))
    factor[s] = row
    parameters = before.with_zeros()
    parameters.a[s] = norm * coordinates[0]
    parameters.c[s] = parameters.c[:, s] = factor @ row
    parameters.x[s] = response * np.append(coordinates[s + 2 : -1], np.exp(coordinates[-1]))
    return parameters


def units(before: OrderParameters) -> tuple[float, float]:
    """|θ| and X_ss of the last stage; 1 and 1 before the first."""
    if not before.stages:
        return 1.0, 1.0
    a, c, x = before
    return float(np.hypot(a[-1], np.sqrt(c[-1, -1]))), float(x[-1, -1])


def relative_residuals(off: OrderParameters, parameters: OrderParameters) -> Float[np.ndarray, " unknowns"]:
    """The residuals `off` of the newest stage's a, C and X, over the sizes of these, as one vector."""
    a, c, x = parameters
    norms = np.sqrt(a * a + np.diag(c))
    return np.concatenate([[off.a[-1] / norms[-1]], off.c[-1] / norms / norms[-1], off.x[-1] / x[-1, -1]])


def starts(before: OrderParameters, miss: Callable[[Array], float]) -> Iterator[Float[np.ndarray, " unknowns"]]:
    """Coordinates to begin with: a learner near that of the stage before, then learners of other lengths and responses.

    The latter are the _MOST_STARTS that miss the equations least. At stage 0 the scales go both ways. Later learners
    may be shorter and less responsive, as they are where rows were separable and are no more.
    """
    near = _FIRST_START
    lengths = _LENGTHS
    responses = _RESPONSES
    if before.stages:
        near = _as_before(before)
        lengths = 1 / _LENGTHS
        responses = 1 / _RESPONSES
    yield near
    others = np.tile(near, (len(lengths), len(responses), 1))
    others[..., : before.stages + 1] *= lengths[:, None, None]
    others[..., before.stages + 1] += np.log(lengths)[:, None]
    others[..., -1] = np.log(responses)
    yield from sorted(others.reshape(-1, len(near)), key=miss)[:_MOST_STARTS]


def _ridge_starts(equations: _ConvexEquations) -> list[Float[np.ndarray, " unknowns"]]:
    """Where the ridge of the newest stage is large: coordinates of a learner that it has shrunk in proportion.

    Such a learner is θ = E[f x]/λ with the forces of θ = 0, and its response is φ/λ.
    """
    stage = equations.before.stages
    problem = equations.problem
    ridge = float(problem.ridges[stage])
    if ridge < _LARGE_RIDGE:
        return []
    norm, response = units(equations.before)
    guess = _as_before(equations.before) if stage else _FIRST_START.copy()
    shrunk = 1.0 / ridge / norm
    guess[: stage + 1] *= shrunk / np.linalg.norm(guess[: stage + 1])
    guess[stage + 1] = np.log(shrunk)
    guess[-1] = np.log(problem.phi / ridge / response)
    return [guess]


def _as_before(before: OrderParameters) -> Array:
    """Coordinates of a stage like the last one, apart from the part of it that is new."""
    norm, response = units(before)
    row = np.linalg.cholesky(before.c)[-1] / norm
    new_part = np.log(row[-1]) - _NEW_PART
    return np.concatenate([[before.a[-1] / norm], row, [new_part], before.x[-1] / response, [0.0]])


def broyden(
    equations: Callable[[Array], Array],
    start: Float[np.ndarray, " unknowns"],
    inverse: Float[np.ndarray, "unknowns unknowns"],
) -> tuple[Float[np.ndarray, " unknowns"], float]:
    """A root by Broyden's method, and the largest residual there.

    `inverse` is the inverse of a Jacobian like that of the equations at the start. A step that doubles the residual is
    cut.
    """
    point = start
    off = equations(point)
    for _ in range(_BROYDEN_STEPS):
        if np.abs(off).max() <= _BROYDEN_END:
            break
        step = -inverse @ off
        new = equations(point + step)
        if np.abs(off).max() <= EXACT and not np.abs(new).max() < np.abs(off).max():  # nothing is left but rounding
            break
        while not np.abs(new).max() < 2 * np.abs(off).max():
            step = step / _SHORTER
            if np.abs(step).max() < EXACT:
                return point, float(np.abs(off).max())
            new = equations(point + step)
        moved = inverse @ (new - off)
        inverse = inverse + np.outer(step - moved, step @ inverse) / (step @ moved)
        point = point + step
        off = new
    return point, float(np.abs(off).max())
