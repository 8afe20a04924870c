"""The practice loop as far as it has come, and one more stage of it, under any convex loss.

Equations are those of dp_theory.practice.dmft. A new stage s has 2s + 3 unknowns: a_s, and the rows C_s· and X_s·,
diagonals included. Nothing acts on the stages before. Under a quadratic loss it is solved without iteration:

1. X_ss solves a scalar equation of its own, since (T3.11) on the diagonal holds no other unknown of this stage.
2. Given X_ss, the means of the forces are affine in the other unknowns, and so are (T3.9), (T3.10) and (T3.11) for
   these. One linear solve is exact.
3. C_ss enters nothing else, and its own equation in (T3.10) is affine.

Under another loss the fixed-point map moves every order parameter half way to the right-hand side of its equation, or
less where C would not be positive, and Anderson's method finds what this map does not move: first over few points of
each cohort, then over all. Max-margin solutions may need Powell's method. The search's coordinates always stand for
possible order parameters: a_s; the row s of C's Cholesky factor, with the logarithm of its diagonal element; the row s
of X, with the logarithm of X_ss. Lengths are in units of |θ_s-1|, responses in units of X_s-1,s-1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import root_scalar

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array
from dp_theory.numerics.fixed_point import fixed_point
from dp_theory.practice.additions import Addition, RoundRows
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Newest, OrderParameters, newest_error, with_edge, with_row
from dp_theory.practice.forces import SampledCohort, closest_quadratic
from dp_theory.practice.points import draw_points
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.quadratic_forces import CohortForces, QuadraticLoss, newest_forces
from dp_theory.span.losses import Loss, Square, candidate_limits

if TYPE_CHECKING:
    from jaxtyping import Float

SQUARE_CONTROL = QuadraticLoss()
FEW = 2**11  # points of a cohort with which a stage is solved first
EXACT = 1e-9  # relative residual at which a stage counts as solved
MOST_SLOPES = 1500  # of a row's forces by its scores, over all cohorts: 16 stages, 400 MB

_NEAR = 1e-6  # relative residual over few points at which the search over all points begins,
_NEAR_ENOUGH = 1e-4  # or from which it is tried at least
_SOLVED = 1e-12  # relative residual at which the search ends
_SETTLED = 1e-3  # relative residual from which on the control stays as it is
_STEPS = (200, 80)  # of the search, over few points and over all
_PART = 0.5  # of the way to the right-hand sides
_LEAST_PART = 1e-9
_POSITIVE = 1e-6  # the least part of a learner, squared, that is new
_LARGE_RIDGE = 1.0  # where no remedy is known
_FIRST_START = np.array([0.5, 0.0, -1.0])  # coordinates of stage 0 to begin with
_NEW_PART = 0.5  # by how much the logarithm of a learner's part that is new falls per stage, to begin with


@dataclass(frozen=True)
class Loop:
    """A loop with scalar rules after some of its stages. It never changes: `next_stage` gives the one after.

    For losses other than the square, a cohort has `size` points, a power of two, drawn by `seed`, with their forces
    under the loss; `cohorts` has the forces under the quadratic losses that serve as control. `losses` has the
    problem's for each stage, or HARD_MARGIN where lam = 0 and the rows are separable. `modes`, `means` and `pulled` are
    M_e of (T3.7) at each eigenvalue, M_e b, and M_e(E[f g] - Λa/e); `ff` is E[f fᵀ].
    """

    problem: PracticeProblem
    size: int
    seed: int
    cohorts: tuple[CohortForces, ...]
    points: tuple[SampledCohort, ...]
    parameters: OrderParameters
    losses: tuple[Loss, ...]
    modes: Float[np.ndarray, "modes stages stages"]
    means: Float[np.ndarray, "modes stages"]
    pulled: Float[np.ndarray, "modes stages"]
    ff: Float[np.ndarray, "stages stages"]

    @classmethod
    def of(cls, problem: PracticeProblem, size: int = FEW, seed: int = 0) -> Loop:
        """The loop before its first stage. Raises InputError for more stages than memory allows."""
        trained = np.arange(1, problem.stages + 1) if problem.accumulate else np.ones(problem.stages)
        if not isinstance(problem.loss, Square) and np.sum(trained**2) > MOST_SLOPES:
            raise InputError(
                f"{problem.stages - 1} rounds that accumulate are more than memory allows under {problem.loss}: ask for"
                " fewer, or take the square loss"
            )
        modes = len(problem.eigenvalues)
        none = np.zeros((modes, 0))
        matrices = np.zeros((modes, 0, 0))
        return cls(problem, size, seed, (), (), OrderParameters.of_no_stage(), (), matrices, none, none, matrices[0])

    @property
    def test_error(self) -> float:
        """The test error (T3.13) of the newest stage."""
        return float(newest_error(self.parameters, self.overlaps[-1]))

    @property
    def overlaps(self) -> Float[np.ndarray, " stages"]:
        """The overlaps o of (T3.12)."""
        if np.ndim(self.problem.labeller) == 0:  # the truth labels, or Σ = I, where θ off the labeller is isotropic
            return np.asarray(self.problem.labeller) * self.parameters.a
        return (self.problem.truth_direction * self.problem.labeller_direction) @ self.means

    def next_stage(
        self,
        cohort: Cohort,
        rows: RoundRows | None = None,
        cosine: float = 1.0,
        change: Callable[[Newest], Newest] = lambda newest: newest,
    ) -> tuple[Loop, float]:
        """The loop after one more stage, and by how much its equations are missed, relative to the order parameters.

        The stage trains on one more cohort, made from `rows` at this `cosine` with its selector, which only losses
        other than the square need; `change` is applied to its order parameters before the loop goes on. Raises
        InputError where lam = 0 and a stage of the square loss has no more rows than dimensions, and under another loss
        for rows known by their moments alone; ConvergenceError where the equations are not met.
        """
        stage = self.parameters.stages
        ridge = float(self.problem.ridges[stage])
        grown = self.with_rows(cohort, rows, cosine)
        if isinstance(self.problem.loss, Square):
            _require_rows(self.problem, [known.cohort for known in grown.cohorts], stage)
            vector, miss = StageEquations(grown, self.problem.loss, ridge).solved_for(SQUARE_CONTROL)
            return grown.extended(change(Newest.of(vector)), self.problem.loss, ridge, SQUARE_CONTROL), miss
        miss = np.inf
        for loss, lam in candidate_limits(self.problem.loss, ridge):
            vector, control, miss = StageEquations(grown, loss, lam).solved()
            if miss <= EXACT:
                return grown.extended(change(Newest.of(vector)), loss, lam, control), miss
        remedy = "give a larger lam, if the rows are about to be separable"
        if ridge == 0:
            remedy = "give a small lam, such as 0.03: of max-margin solutions, this one was not found"
        elif ridge >= _LARGE_RIDGE:
            remedy = "the ridge is large enough: this is a failure of the search, not of the problem"
        raise ConvergenceError(
            f"practice at phi = {self.problem.phi:g}, lam = {ridge:g}, {self.problem.loss}, stage {stage}: the order"
            f" parameters miss their equations by {miss:.1e}; {remedy}"
        )

    def with_rows(self, cohort: Cohort, rows: RoundRows | None, cosine: float) -> Loop:
        cohorts = (*self.cohorts, CohortForces.of(cohort, self.parameters))
        if isinstance(self.problem.loss, Square):
            return replace(self, cohorts=cohorts)
        if not isinstance(rows, Addition):
            raise InputError("rows that are known by their moments alone are for the square loss: give a rule")
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.parameters.stages,)))
        points = draw_points(cohort, rows, rows.flips(self.problem.flip), cosine, self.size, rng)
        return replace(self, cohorts=cohorts, points=(*self.points, SampledCohort.of(points)))

    def extended(self, newest: Newest, loss: Loss, lam: float, control: QuadraticLoss) -> Loop:
        equations = StageEquations(self, loss, lam)
        parameters = self.parameters.extended(newest)
        stage = parameters.stages - 1
        each, forces = newest_forces(self.cohorts, newest, control)
        cohorts = [
            rows if on_rows is None else on_rows.joined(rows) for rows, on_rows in zip(self.cohorts, each, strict=True)
        ]
        equations.correct(forces, parameters, control)
        row, mean, pulled = equations.learner(newest, forces)
        return replace(
            self,
            cohorts=tuple(cohorts),
            points=tuple(
                rows.extended(loss, control, parameters) if rows.trains(stage) else rows for rows in self.points
            ),
            parameters=parameters,
            losses=(*self.losses, loss),
            modes=with_row(self.modes, row),
            means=np.append(self.means, mean[:, None], axis=1),
            pulled=np.append(self.pulled, pulled[:, None], axis=1),
            ff=with_edge(self.ff, forces.symmetric),
        )


@dataclass(frozen=True)
class StageEquations:
    """(T3.9), (T3.10) and (T3.11) for the stage after those of a loop, whose cohort the loop has, at a loss and ridge.

    Vectors of unknowns are a_s, C_s0 … C_ss, X_s0 … X_ss.
    """

    loop: Loop
    loss: Loss
    lam: float
    few: tuple[SampledCohort, ...] = field(default=())

    @property
    def stage(self) -> int:
        return self.loop.parameters.stages

    def learner(self, newest: Newest, forces: Newest) -> tuple[Array, Array, Array]:
        """The newest rows of M_e, (*trials, modes, s + 1), of M_e b and of M_e(E[f g] - Λa/e), (*trials, modes)."""
        e = self.loop.problem.eigenvalues
        others = forces.lower[..., :-1]
        own = e / (self.lam + e * forces.lower[..., -1:])
        row = -own[..., None] * np.einsum("...j,ejk->...ek", others, self.loop.modes)
        b = forces.one + (forces.lower[..., -1] * newest.one) + others @ self.loop.parameters.a
        mean = own * (b[..., None] - others @ self.loop.means.T)
        # (T3.9) less a is Σ v_e² M_e(E[f g] - (Λ/e)a), without the cancellation of Γa
        pull = forces.one[..., None] - self.lam / e * newest.one[..., None]
        pulled = own * (pull - others @ self.loop.pulled.T)
        return np.concatenate([row, own[..., None]], axis=-1), mean, pulled

    def off(self, newest: Newest, forces: Newest) -> Float[np.ndarray, "*trials unknowns"]:
        """Right-hand sides minus a_s, C_s· and X_s·, at these means of the forces."""
        loop = self.loop
        v = loop.problem.labeller_direction
        phi = loop.problem.phi
        row, mean, pulled = self.learner(newest, forces)
        others = row[..., :-1]
        a_off = pulled @ v**2
        # (T3.10) with Σ v_e² (M_e b)(M_e b)ᵀ - aaᵀ as a sum of squares
        before = v[:, None] * (loop.means - v**2 @ loop.means)
        deviation = v * (mean - (mean @ v**2)[..., None])
        by_force = others @ loop.ff + row[..., -1:] * forces.symmetric[..., None, :-1]  # M_e E[f f_j] for j < s
        own_force = (others * forces.symmetric[..., None, :-1]).sum(-1) + row[..., -1] * forces.symmetric[..., -1:]
        with_others = np.einsum("...ek,ejk->...j", by_force, loop.modes) / len(v)
        with_own = ((by_force * others).sum(-1) + row[..., -1] * own_force).mean(-1)
        c_off = np.append(deviation @ before, (deviation**2).sum(-1)[..., None], axis=-1) - newest.symmetric
        c_off = c_off + phi * np.append(with_others, with_own[..., None], axis=-1)
        x_off = phi * row.mean(-2) - newest.lower  # (T3.11)
        return Newest(a_off, c_off, x_off).vector()

    def relative(self, off: Array, newest: Newest) -> Float[np.ndarray, " unknowns"]:
        a, c, _ = self.loop.parameters
        own = np.hypot(newest.one, np.sqrt(newest.symmetric[-1]))
        norms = np.append(np.hypot(a, np.sqrt(np.diag(c))), newest.symmetric[-1] / own)
        return off / np.concatenate([[own], norms * own, np.full(self.stage + 1, newest.lower[-1])])

    # -- quadratic losses ---------------------------------------------------------------------------------------------

    def solved_for(self, control: QuadraticLoss) -> tuple[Float[np.ndarray, " unknowns"], float]:
        """The stage under a quadratic loss, and its relative residual."""
        s = self.stage
        own = s + 1  # the place of C_ss; that of X_ss is the last
        response = self._own_response(control)
        deviations = np.sqrt(np.diag(self.loop.parameters.c))
        unit = np.concatenate([[1.0], deviations * (deviations[-1] if s else 1.0), [1.0], np.full(s, response)])

        def missed(vectors: Array) -> Array:
            newest = Newest.of(vectors)
            return self.off(newest, newest_forces(self.loop.cohorts, newest, control)[1])[..., :-1] / unit

        vector = np.append(np.zeros(2 * s + 2), response)
        at_zero, *columns = missed(vector + np.pad(np.diag(unit), ((1, 0), (0, 1))))
        jacobian = (np.array(columns) - at_zero).T
        rest = np.delete(np.arange(2 * s + 2), own)
        of_rest = jacobian[np.ix_(rest, rest)]
        vector[rest] = -unit[rest] * np.linalg.solve(of_rest, at_zero[rest])
        vector[rest] -= unit[rest] * np.linalg.solve(of_rest, missed(vector)[rest])  # removes the first's rounding
        vector[own] = -missed(vector)[own] / jacobian[own, own]
        newest = Newest.of(vector)
        off = self.off(newest, newest_forces(self.loop.cohorts, newest, control)[1])
        return vector, float(np.abs(self.relative(off, newest)).max())

    def _own_response(self, control: QuadraticLoss) -> float:
        """X_ss: the root X of X = (1/n)Σ e/(lam + eΓ), Γ = E[β], of (T3.11), found in ln X."""
        problem = self.loop.problem
        e = problem.eigenvalues
        here = [rows.cohort for rows in self.loop.cohorts if rows.cohort.trains(self.stage)]
        weight = np.concatenate([cohort.weight for cohort in here])
        mass = np.concatenate([cohort.mass for cohort in here])

        def right_side(response: float) -> float:
            gamma = float(mass @ control.bend(weight, response))
            return problem.phi * float((e / (self.lam + e * gamma)).sum()) / len(e)

        def excess(log_response: float) -> float:
            return float(np.log(right_side(np.exp(log_response))) - log_response)

        low = high = right_side(0.0)
        while right_side(high) > high:
            low = high
            high = 4 * high
        return float(np.exp(root_scalar(excess, bracket=(np.log(low), np.log(high)), xtol=1e-15).root))

    # -- other losses -------------------------------------------------------------------------------------------------

    def correct(self, forces: Newest, parameters: OrderParameters, control: QuadraticLoss) -> None:
        """Make the means of forces under the control those under the loss, in place."""
        for rows in self.few or self.loop.points:
            if rows.trains(self.stage):
                rows.correct(forces, parameters, self.loss, control)

    def solved(self) -> tuple[Float[np.ndarray, " unknowns"], QuadraticLoss, float]:
        """The stage, the control that was fitted to it, and its relative residual, which may be large."""
        few = tuple(rows.first(FEW) for rows in self.loop.points)
        search = _Search(replace(self, few=few), SQUARE_CONTROL)
        found, miss = fixed_point(search.move, self._start(), _NEAR, _STEPS[0], _NEAR_ENOUGH)
        if miss <= _NEAR_ENOUGH:
            search = _Search(self, search.control, settled=True)
            found, miss = fixed_point(search.move, found, _SOLVED, _STEPS[1], EXACT)
        return self.vector(found), search.control, miss

    def _start(self) -> Float[np.ndarray, " unknowns"]:
        """A learner like that of the stage before, apart from the part of it that is new."""
        if not self.stage:
            return _FIRST_START
        a, c, x = self.loop.parameters
        norm, response = self._units()
        row = np.linalg.cholesky(c)[-1] / norm
        return np.concatenate([[a[-1] / norm], row, [np.log(row[-1]) - _NEW_PART], x[-1] / response, [0.0]])

    def _units(self) -> tuple[float, float]:
        """|θ| and X_ss of the last stage; 1 and 1 before the first."""
        a, c, x = self.loop.parameters
        return (float(np.hypot(a[-1], np.sqrt(c[-1, -1]))), float(x[-1, -1])) if len(a) else (1.0, 1.0)

    def coordinates(self, vector: Float[np.ndarray, " unknowns"]) -> Float[np.ndarray, " unknowns"]:
        norm, response = self._units()
        a, c, x = Newest.of(vector)
        row = solve_triangular(np.linalg.cholesky(self.loop.parameters.c), c[:-1], lower=True) if self.stage else c[:0]
        new = np.log(c[-1] - row @ row) / 2 - np.log(norm)
        return np.concatenate([[a / norm], row / norm, [new], x[:-1] / response, [np.log(x[-1] / response)]])

    def vector(self, coordinates: Float[np.ndarray, " unknowns"]) -> Float[np.ndarray, " unknowns"]:
        norm, response = self._units()
        a, factor, x = Newest.of(coordinates)
        row = norm * np.append(factor[:-1], np.exp(factor[-1]))
        c = np.append(np.linalg.cholesky(self.loop.parameters.c) @ row[:-1], row @ row)
        return Newest(norm * a, c, response * np.append(x[:-1], np.exp(x[-1]))).vector()

    def is_possible(self, vector: Float[np.ndarray, " unknowns"]) -> bool:
        _, c, x = Newest.of(vector)
        before = self.loop.parameters.c
        new = c[-1] - (c[:-1] @ np.linalg.solve(before, c[:-1]) if self.stage else 0.0)
        return bool(x[-1] > 0 and new > _POSITIVE * c[-1] > 0)


@dataclass
class _Search:
    """The damped fixed-point map of a stage in its coordinates, and the control fitted on the way."""

    equations: StageEquations
    control: QuadraticLoss
    settled: bool = False

    def move(self, point: Float[np.ndarray, " unknowns"]) -> tuple[Float[np.ndarray, " unknowns"], float]:
        """By how much the map moves a point, and the largest relative residual there; inf where it is not defined."""
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                return self._move(point)
        except (np.linalg.LinAlgError, FloatingPointError, ConvergenceError):  # the loss's prox may not converge
            return np.zeros_like(point), np.inf

    def _move(self, point: Float[np.ndarray, " unknowns"]) -> tuple[Float[np.ndarray, " unknowns"], float]:
        equations = self.equations
        vector = equations.vector(point)
        newest = Newest.of(vector)
        parameters = equations.loop.parameters.extended(newest)
        if not self.settled:
            here = [rows for rows in equations.few if rows.trains(equations.stage)]
            self.control = closest_quadratic(here, parameters, equations.loss)
        forces = newest_forces(equations.loop.cohorts, newest, self.control)[1]
        equations.correct(forces, parameters, self.control)
        off = equations.off(newest, forces)
        miss = float(np.abs(equations.relative(off, newest)).max())
        self.settled = self.settled or miss < _SETTLED
        part = _PART
        while not equations.is_possible(vector + part * off):
            part = part / 2
            if part < _LEAST_PART:
                return np.zeros_like(point), np.inf
        return equations.coordinates(vector + part * off) - point, miss


def _require_rows(problem: PracticeProblem, cohorts: Sequence[Cohort], stage: int) -> None:
    """Raise InputError where a stage without ridge has no more rows than dimensions."""
    rows = sum(cohort.mass.sum() for cohort in cohorts if cohort.trains(stage))
    if problem.ridges[stage] == 0 and rows <= problem.phi:
        raise InputError(
            f"lam = 0 needs more rows than dimensions: stage {stage} has {rows:.3g}·n, not above d = phi·n ="
            f" {problem.phi:g}·n. Give lam > 0"
        )
