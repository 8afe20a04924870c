"""The learners as far as they have come, and one more stage of them, under any convex loss.

Under a quadratic loss one scalar root gives X_ss, and a linear solve the rest of the stage, exactly. Under another loss
Anderson's method solves the damped fixed-point map, in coordinates that always stand for possible order parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import root_scalar

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.equations import (
    CohortForces,
    Newest,
    OrderParameters,
    PointMeans,
    newest_forces,
    with_edge,
    with_row,
)
from dp_theory.loop.losses import Loss, QuadraticLoss, candidate_limits
from dp_theory.loop.placed import Cohort, PlacedRows, scored_atoms
from dp_theory.loop.points import Points
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.fixed_point import fixed_point

if TYPE_CHECKING:
    from dp_theory.loop.problems import Cell

SQUARE_CONTROL = QuadraticLoss()
INTERPOLATION = QuadraticLoss(np.inf)  # the limit λ → 0 with fewer kept rows than dimensions, in units of λ
FEW = 2**11  # points of a cohort with which a stage is solved first
EXACT = 1e-9  # relative residual at which a stage counts as solved

_AT_THE_PEAK = 1e-12  # relative distance of the kept rows from φ below which the norm counts as infinite
_BESIDE_THE_PEAK = 1e-9
_ROUNDED = 1e-14  # relative size from which a correction of a stage's affine solution is not made,
_CORRECTIONS = 3  # nor after so many times
_NEGLIGIBLE = 1e-14  # mass of a node, over the largest of its block: the tails of several directions are many
_NEAR = 1e-6  # relative residual over few points at which the search over all points begins,
_NEAR_ENOUGH = 1e-4  # or from which it is tried at least
_SOLVED = 1e-12  # relative residual at which the search ends
_SETTLED = 1e-3  # relative residual from which on the control stays as it is
_STEPS = (40, 80)  # of the search, over few points and over all
_STEPS_OF_NODES = 30
_PART = 0.5  # of the way to the right-hand sides
_LEAST_PART = 1e-9
_POSITIVE = 1e-6  # the least part of a learner, squared, that is new
_FARTHEST = 100.0  # |ln √C| and |ln X| from which no solution is looked for
_LARGE_RIDGE = 1.0  # from which the ridge falls where a stage is not found at once, to
_LEAST_RIDGE = 1e-6  # this or the stage's own;
_MANY_DIMENSIONS = 2.0  # per row of the pool, from which these fall to a hard margin's own;
_WAY = 13  # by so many steps,
_FAILED = 6  # unless so many of them in a row have no solution
_FIRST_DEVIATION = -1.0  # ln √C of stage 0 to begin with,
_FIRST_ALIGNMENT = 1e-3  # and a
_NEW_PART = 0.5  # by how much the logarithm of a learner's part that is new falls per stage, to begin with


@dataclass(frozen=True)
class Loop:
    """The learners of a scalar problem after some of its stages. It never changes: `next_stage` gives the one after.

    `losses` has HARD_MARGIN where lam = 0 and rows are separable; `conditions` is how much rounding moves X and C.
    `modes`, `means` and `pulled` are M_e of (T3.7), M_e b u_e, and M_e(E[f gᵀ] - Λa/e)u_e; `ff` is E[f fᵀ].
    """

    cell: "Cell"
    cohorts: tuple[CohortForces, ...]
    parameters: OrderParameters
    losses: tuple[Loss, ...]
    conditions: tuple[float, ...]
    modes: Float[Array, "modes stages stages"]
    means: Float[Array, "modes stages"]
    pulled: Float[Array, "modes stages"]
    ff: Float[Array, "stages stages"]

    @classmethod
    def of(cls, cell: "Cell") -> "Loop":
        modes, directions = cell.basis.shape
        none, matrices = np.zeros((modes, 0)), np.zeros((modes, 0, 0))
        parameters = OrderParameters(np.zeros((0, directions)), matrices[0], matrices[0])
        return cls(cell, (), parameters, (), (), matrices, none, none, matrices[0])

    def outcome(self) -> tuple[float, float]:
        a, c, _ = self.parameters
        along, norm, outside = self.cell.truth_in_span
        part = float(a[-1] @ along)
        overlap = part * norm + float(outside @ self.means[:, -1])
        across = a[-1] - part * along
        off = c[-1, -1] + across @ across + (part - overlap) * (part + overlap)  # without cancellation
        return float(np.arctan2(np.sqrt(off), overlap) / np.pi), overlap

    def with_rows(self, cohorts: Sequence[Cohort], points: Sequence[Points] = ()) -> "Loop":
        """With rows, and with points of these where their forces are sampled."""
        new = [CohortForces.of(cohort, self.parameters, *own) for cohort, *own in zip_longest(cohorts, points)]
        return replace(self, cohorts=(*self.cohorts, *new))

    @cached_property
    def training(self) -> list[CohortForces]:
        """The cohorts that the next stage trains on, which are the last ones."""
        return [rows for rows in self.cohorts if rows.cohort.last > self.parameters.stages]

    def next_stage(self, change: Callable[[Newest], Newest] = lambda newest: newest) -> "tuple[Loop, float]":
        """The loop after one more stage, and by how much its equations are missed, relative to the order parameters.

        `change` is applied to the order parameters before the loop goes on.
        """
        cell, stage = self.cell, self.parameters.stages
        ridge, condition, miss = float(cell.ridges[stage]), 1.0, np.inf
        if cell.is_square:
            control = SQUARE_CONTROL
            rows = sum(float(each.cohort.kept.mass.sum()) for each in self.training)
            if ridge == 0 and rows <= cell.phi * (1 + _AT_THE_PEAK):
                if cell.rounds:
                    raise InputError(
                        f"lam = 0 needs more rows than dimensions: stage {stage} has {rows:.3g}·n, not above d = phi·n"
                        f" = {cell.phi:g}·n. Give lam > 0"
                    )
                if rows >= cell.phi * (1 - _AT_THE_PEAK):  # where C is infinite, and a as nearby
                    nearby, _ = replace(self, cell=replace(cell, phi=rows * (1 + _BESIDE_THE_PEAK))).next_stage()
                    nearby.parameters.c[:] = np.inf
                    return replace(nearby, cell=cell), 0.0
                ridge, control = 1.0, INTERPOLATION
            equations = StageEquations(self, cell.loss, ridge)
            newest, miss, condition = equations.exact(control)
        else:
            for gradually, (loss, lam) in product((False, True), candidate_limits(cell.loss, ridge)):
                equations = StageEquations(self, loss, lam)
                newest, control, miss = equations.by_points(gradually)
                if miss <= EXACT:
                    break
            else:
                remedy = "give a larger lam, if the rows are about to be separable"
                if ridge == 0:
                    remedy = "give a small lam, such as 0.03: of max-margin solutions, this one was not found"
                raise self._missed(miss, remedy)
        newest = change(newest)
        cohorts, forces = newest_forces(self.training, newest, control)
        parameters, losses = self.parameters.extended(newest), (equations.loss, control)
        for i, rows in enumerate(cohorts):
            if rows.sampled:
                rows.correct(forces, parameters, losses)
                cohorts[i] = rows.on_points(parameters, losses)
        return self._grown(newest, forces, equations, condition, cohorts), miss

    def first_stage(self, order: int, previous: "Loop | None", error: Array | None = None) -> "tuple[Loop, float]":
        """The only stage of a loop without rounds, by nodes of this order. `error` is that of the means of forces."""
        start, miss = None, np.inf
        candidates = candidate_limits(self.cell.loss, float(self.cell.ridges[0]))
        if previous is not None:
            candidates = [limit for limit in candidates if limit[0] == previous.losses[0]]
            start = Newest(*(part[-1] for part in previous.parameters))
        for loss, lam in candidates:
            means = NodeMeans(self.cell.initial, loss, order, error)
            equations = StageEquations(self, loss, lam)
            newest, miss = equations.by_nodes(means, start)
            if miss <= EXACT:
                return self._grown(newest, means(newest), equations), miss
        raise self._missed(miss, "give a larger lam")

    def _missed(self, miss: float, remedy: str) -> ConvergenceError:
        cell, stage = self.cell, self.parameters.stages
        where = f"phi = {cell.phi:g}, lam = {cell.ridges[stage]:g}, {cell.loss}, stage {stage}"
        return ConvergenceError(f"{where}: the order parameters miss their equations by {miss:.1e}; {remedy}")

    def _grown(
        self,
        newest: Newest,
        forces: Newest,
        equations: "StageEquations",
        condition: float = 1.0,
        cohorts: Sequence[CohortForces] = (),
    ) -> "Loop":
        row, mean, pulled = equations.learner(newest, forces)
        return Loop(
            self.cell,
            (*self.cohorts[: len(self.cohorts) - len(cohorts)], *cohorts),
            self.parameters.extended(newest),
            (*self.losses, equations.loss),
            (*self.conditions, condition),
            with_row(self.modes, row),
            np.append(self.means, mean[:, None], axis=1),
            np.append(self.pulled, pulled[:, None], axis=1),
            with_edge(self.ff, forces.symmetric),
        )


@dataclass(frozen=True)
class StageEquations:
    """(T3.9), (T3.10) and (T3.11) for the newest stage; unknowns are a_s, C_s0 … C_ss, X_s0 … X_ss."""

    loop: Loop
    loss: Loss
    lam: float

    @property
    def stage(self) -> int:
        return self.loop.parameters.stages

    def learner(self, newest: Newest, forces: Newest) -> tuple[Array, Array, Array]:
        e, basis = self.loop.cell.eigenvalues, self.loop.cell.basis
        others = forces.lower[..., :-1]
        own = e / (self.lam + e * forces.lower[..., -1:])
        row = -own[..., None] * np.einsum("...j,ejk->...ek", others, self.loop.modes)
        b = forces.one + forces.lower[..., -1:] * newest.one + others @ self.loop.parameters.a
        mean = own * (b @ basis.T - others @ self.loop.means.T)
        # (T3.9) less a is Σ M_e(E[f gᵀ] - (Λ/e)a) u_e u_eᵀ, without the cancellation of Γa
        pull = forces.one @ basis.T - self.lam / e * (newest.one @ basis.T)
        pulled = own * (pull - others @ self.loop.pulled.T)
        return np.concatenate([row, own[..., None]], axis=-1), mean, pulled

    def off(self, newest: Newest, forces: Newest) -> Float[Array, "*trials unknowns"]:
        """Right-hand sides minus a_s, C_s· and X_s·."""
        loop = self.loop
        basis = loop.cell.basis
        phi = loop.cell.phi
        row, mean, pulled = self.learner(newest, forces)
        others = row[..., :-1]
        a_off = pulled @ basis
        # (T3.10) with Σ (M_e b u_e)(M_e b u_e)ᵀ - aaᵀ as a sum of squares
        before = loop.means - basis @ (basis.T @ loop.means)
        deviation = mean - (mean @ basis) @ basis.T
        by_force = others @ loop.ff + row[..., -1:] * forces.symmetric[..., None, :-1]  # M_e E[f f_j] for j < s
        own_force = (others * forces.symmetric[..., None, :-1]).sum(-1) + row[..., -1] * forces.symmetric[..., -1:]
        with_others = np.einsum("...ek,ejk->...j", by_force, loop.modes) / len(basis)
        with_own = ((by_force * others).sum(-1) + row[..., -1] * own_force).mean(-1)
        c_off = np.append(deviation @ before, (deviation**2).sum(-1)[..., None], axis=-1) - newest.symmetric
        c_off = c_off + phi * np.append(with_others, with_own[..., None], axis=-1)
        x_off = phi * row.mean(-2) - newest.lower  # (T3.11)
        return Newest(a_off, c_off, x_off).vector()

    def miss(self, off: Array, newest: Newest) -> float:
        """The largest of `off`, relative to the order parameters."""
        own = np.hypot(np.linalg.norm(newest.one), np.sqrt(newest.symmetric[-1]))
        norms = np.append(self.loop.parameters.norms(), newest.symmetric[-1] / own)
        directions = np.full(len(newest.one), own)
        sizes = np.concatenate([directions, norms * own, np.full(self.stage + 1, newest.lower[-1])])
        return float(np.abs(off / sizes).max())

    # -- quadratic losses ---------------------------------------------------------------------------------------------

    def exact(self, control: QuadraticLoss) -> tuple[Newest, float, float]:
        """The stage under a quadratic loss, its residual, and what magnifies rounding."""
        k, s = self.loop.parameters.a.shape[1], self.stage
        own = k + s  # the place of C_ss; that of X_ss is the last
        response, slope = self._own_response(control)
        training = self.loop.training
        deviations = np.sqrt(np.diag(self.loop.parameters.c))
        own_unit = deviations[-1] if s else 1.0
        unit = np.concatenate([np.ones(k), deviations * own_unit, [1.0], np.full(s, response)])

        vectors = np.vstack([np.zeros(k + 2 * s + 2), np.diag(np.append(unit, 0.0))[:-1]])
        vectors[:, -1] = response
        newest = Newest.of(vectors, s + 1)
        forces = Newest(*map(np.zeros_like, newest))
        for rows in training:
            rows.add_affine(forces, newest, control)
        at_zero, *columns = self.off(newest, forces)[:, :-1] / unit  # affine at one X_ss, but for that of C_ss
        rest = np.delete(np.arange(k + 2 * s + 1), own)
        inverse = np.linalg.inv((np.array(columns) - at_zero).T[np.ix_(rest, rest)])

        vector = vectors[0]
        vector[rest] = -unit[rest] * (inverse @ at_zero[rest])
        for left in range(_CORRECTIONS, -1, -1):
            newest = Newest.of(vector, s + 1)
            off = self.off(newest, newest_forces(training, newest, control)[1])
            correction = np.zeros_like(vector)
            correction[rest] = unit[rest] * (inverse @ (off[rest] / unit[rest]))
            correction[own] = off[own] / slope
            if not left or (vector[own] > 0 and self.miss(correction, newest) < _ROUNDED):
                break
            vector = vector - correction
        miss = self.miss(off, newest) if vector[own] > 0 else np.inf
        return newest, miss, 1 / abs(slope)

    def _own_response(self, control: QuadraticLoss) -> tuple[float, float]:
        """X_ss, the root of X = (1/n)Σ e/(lam + eΓ), Γ = E[β], found in ln X; and the slope of C_ss's equation."""
        cell = self.loop.cell
        e = cell.eigenvalues
        kept = [rows.cohort.kept for rows in self.loop.training]
        weight = np.concatenate([each.weight for each in kept])
        mass = np.concatenate([each.mass for each in kept])

        def own_mode(response: float) -> tuple[Array, Array]:
            beta = control.bend(weight, response)
            return e / (self.lam + e * float(mass @ beta)), beta

        def excess(log_response: float) -> float:
            response = np.exp(log_response)
            return 1 - cell.phi * float(np.mean(own_mode(response)[0])) / response

        low = high = float(np.log(cell.phi))
        while excess(low) > 0:
            low -= 4
        while excess(high) < 0:
            high += 4
        # root_scalar: scipy.optimize.elementwise.find_root takes 13 times as long for one root
        response = float(np.exp(root_scalar(excess, bracket=(low, high), xtol=1e-15, rtol=1e-15).root))
        mode, beta = own_mode(response)
        return response, cell.phi * float(np.mean(mode**2) * (mass @ beta**2)) - 1

    # -- other losses -------------------------------------------------------------------------------------------------

    def by_points(self, gradually: bool) -> tuple[Newest, QuadraticLoss, float]:
        """The stage, the control fitted to it, and its relative residual, which may be large."""
        loop = self.loop
        few = [rows.on_first(FEW) for rows in loop.training]
        means = PointMeans(few, loop.parameters, self.loss, SQUARE_CONTROL)
        begin, failed = self.start(), 0
        for easier in self._easier() if gradually else ():
            own_means = replace(means)  # each fits a control of its own
            there, miss = fixed_point(easier.moves(own_means), begin, _NEAR, _STEPS[0], _NEAR_ENOUGH)
            begin, failed = (there, 0) if miss <= _NEAR_ENOUGH else (begin, failed + 1)
            if failed == _FAILED:
                break
        found, miss = fixed_point(self.moves(means), begin, _NEAR, _STEPS[0], _NEAR_ENOUGH)
        if miss <= _NEAR_ENOUGH:
            means = replace(means, cohorts=loop.training, settled=True)
            found, miss = fixed_point(self.moves(means), found, _SOLVED, _STEPS[1], EXACT)
        return self.newest(found), means.control, miss

    def _easier(self) -> "Iterator[StageEquations]":
        """Equations on the way to these: with more dimensions for a hard margin, else with more ridge."""
        cell = self.loop.cell
        if self.loss == cell.loss:
            for lam in np.geomspace(_LARGE_RIDGE, max(self.lam, _LEAST_RIDGE), _WAY):
                if lam != self.lam:
                    yield replace(self, lam=float(lam))
        elif cell.phi < _MANY_DIMENSIONS:
            for phi in np.geomspace(_MANY_DIMENSIONS, cell.phi, _WAY)[:-1]:
                yield replace(self, loop=replace(self.loop, cell=replace(cell, phi=float(phi))))

    def by_nodes(self, means: "NodeMeans", near: Newest | None) -> tuple[Newest, float]:
        """The stage without rounds, and its residual: from a point nearby, or along ridges."""

        def found_of(equations: StageEquations, begin: Array) -> tuple[Array, float]:
            return fixed_point(equations.moves(means), begin, _SOLVED, _STEPS_OF_NODES, EXACT)

        begin = self.start() if near is None else self.coordinates(near)
        found, miss = found_of(self, begin)
        if near is None and miss > EXACT and self.loss == self.loop.cell.loss:
            for easier in self._easier():
                there, off = found_of(easier, begin)
                begin = there if off <= EXACT else begin
            found, miss = found_of(self, begin)
        return self.newest(found), miss

    def start(self) -> Float[Array, " unknowns"]:
        a, c, x = self.loop.parameters
        if not self.stage:
            return np.append(np.full(a.shape[1], _FIRST_ALIGNMENT), [_FIRST_DEVIATION, np.log(self.loop.cell.phi)])
        norm, response = self._units
        row = np.linalg.cholesky(c)[-1] / norm
        return np.concatenate([a[-1] / norm, row, [np.log(row[-1]) - _NEW_PART], x[-1] / response, [0.0]])

    @cached_property
    def _units(self) -> tuple[float, float]:
        parameters = self.loop.parameters
        return (float(parameters.norms()[-1]), float(parameters.x[-1, -1])) if self.stage else (1.0, 1.0)

    def coordinates(self, newest: Newest) -> Float[Array, " unknowns"]:
        """Cone coordinates."""
        norm, response = self._units
        a, c, x = newest
        row = np.asarray(solve_triangular(np.linalg.cholesky(self.loop.parameters.c), c[:-1], lower=True))
        new = c[-1] - row @ row
        if not (x[-1] > 0 and new > _POSITIVE * c[-1] > 0):
            raise FloatingPointError("no learner has these order parameters")
        new = np.log(new) / 2 - np.log(norm)
        return np.concatenate([a / norm, row / norm, [new], x[:-1] / response, [np.log(x[-1] / response)]])

    def newest(self, coordinates: Float[Array, " unknowns"]) -> Newest:
        norm, response = self._units
        a, factor, x = Newest.of(coordinates, self.stage + 1)
        if max(abs(factor[-1]), abs(x[-1])) > _FARTHEST:
            raise ConvergenceError("|θ| runs away: without ridge it does where the kept rows are separable")
        row = norm * np.append(factor[:-1], np.exp(factor[-1]))
        c = np.append(np.linalg.cholesky(self.loop.parameters.c) @ row[:-1], row @ row)
        return Newest(norm * a, c, response * np.append(x[:-1], np.exp(x[-1])))

    def moves(self, means: "PointMeans | NodeMeans") -> Callable[[Array], tuple[Array, float]]:
        """The damped map: by how much it moves a point, and the largest relative residual there; inf where it is not
        defined.
        """

        def moved(point: Array) -> tuple[Array, float]:
            newest = self.newest(point)
            vector = newest.vector()
            off = self.off(newest, means(newest))
            miss = self.miss(off, newest)
            means.settled |= miss < _SETTLED
            part = _PART
            while part > _LEAST_PART:
                try:
                    return self.coordinates(Newest.of(vector + part * off, self.stage + 1)) - point, miss
                except FloatingPointError:
                    part /= 2
            return np.zeros_like(point), np.inf

        def move(point: Array) -> tuple[Array, float]:
            try:
                with np.errstate(over="raise", invalid="raise", divide="raise"):
                    return moved(point)
            except (np.linalg.LinAlgError, ArithmeticError):  # the loss's prox may not converge
                return np.zeros_like(point), np.inf

        return move


@dataclass
class NodeMeans:
    """Means over nodes of quadrature, for the first stage."""

    initial: Sequence[PlacedRows]
    loss: Loss
    order: int
    error: Float[Array, " means"] | None = None  # relative, that is assumed of them
    settled: bool = True

    def __call__(self, newest: Newest) -> Newest:
        a, (variance,), (response,) = newest
        score = np.append(a, np.sqrt(variance))
        length = float(np.linalg.norm(score))
        bends = [(at / length, width / length) for at, width in self.loss.bends(response)]
        pull, force, bend = np.zeros(len(score)), 0.0, 0.0
        for placed in self.initial:
            for atoms in scored_atoms(placed, self.order, score / length, bends, _NEGLIGIBLE):
                f, of_row = self.loss.answer(score @ atoms.frame[:, :-1] @ atoms.t, atoms.y, atoms.q, response)
                share = placed.rows.candidates_at(1.0)
                pull += share * atoms.linear(f)
                force += share * float(f * f @ atoms.moments[0])
                bend += share * float(of_row @ atoms.moments[0])
        means = np.append(pull[: len(a)], [force, bend])
        return Newest.of(means if self.error is None else means * (1 + self.error), 1)
