"""The loop under the square loss, from top to bottom: (T3.7) to (T3.18) of docs/theory/practice.md, stage by stage.

One scalar root gives X_ss, and a linear solve the rest of a stage. The method is that of Celentano, Cheng and Montanari
2021; docs/theory/span.md has one stage. For stages s, j and a basis U of the fixed directions:

    a_s   alignment Uᵀθ_s
    C_sj  covariance θ_s·θ_j off U
    X_sj  response: by how much a row's score h_s moves per unit of its force f_j; lower triangular
    Γ_sj  -E[df_s/dη_j], including that the selector's η_j decides which rows are kept
    x     a row's coordinates: (g, z_k/√C_kk) if stage k chose it, else g = Uᵀz

E sums over cohorts, in units of n. Where Σ = I one mode for each fixed direction stands for all d.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.groups import Rows
from dp_theory.loop.placed import Cohort, PlacedRows
from dp_theory.numerics.checks import ROUNDING, Array, Float, require
from dp_theory.rules.base import require_certain

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem, ScalarProblem

# Relative error that quadrature leaves by default.
TOLERANCE = 1e-9
# Least test error that double precision resolves, to about 1e-6 of it.
RESOLUTION = 1e-6
# Orders of the quadrature, taken in turn until they agree.
ORDERS = (16, 24, 36, 54, 80, 120, 180)
# The order of the quadrature where no certificate is needed.
ORDER = 24

# Relative distance of the kept rows from φ below which the norm counts as infinite.
_AT_THE_PEAK = 1e-12
# Relative distance from φ at which the alignment is that at the peak.
_BESIDE_THE_PEAK = 1e-9
# Relative size from which a correction of a stage's affine solution is rounding.
_ROUNDED = 1e-14
# The most corrections of that solution: rounding does not let it settle everywhere.
_CORRECTIONS = 3
# Relative residual from which a stage is refused; below, it is in the certificate.
_MISSED = 1e-6
# Relative error, by rounding, of a moment and of an order parameter.
_MOMENT_ERROR = 16 * ROUNDING
# Factor of the certificate over what one perturbed solution shows, or more nodes change.
_SAFETY = 4


# -- order parameters -------------------------------------------------------------------------------------------------


class StageRow(NamedTuple):
    """The row of the newest stage s in a, C and X. Leading axes `trials` are several at once."""

    a: Float[Array, "*trials k"]
    c: Float[Array, "*trials stages"]
    x: Float[Array, "*trials stages"]

    @classmethod
    def of(cls, vector: Float[Array, "*trials unknowns"], stages: int) -> "StageRow":
        return cls(vector[..., : -2 * stages], vector[..., -2 * stages : -stages], vector[..., -stages:])

    def vector(self) -> Float[Array, "*trials unknowns"]:
        return np.concatenate(self, axis=-1)


class ForceMeans(NamedTuple):
    """The row of the newest stage s in E[f gᵀ], E[f fᵀ] and Γ."""

    fg: Float[Array, "*trials k"]
    ff: Float[Array, "*trials stages"]
    gamma: Float[Array, "*trials stages"]


class OrderParameters(NamedTuple):
    """a, C and X of S stages."""

    a: Float[Array, "*trials stages k"]
    c: Float[Array, "*trials stages stages"]
    x: Float[Array, "*trials stages stages"]

    def extended(self, newest: StageRow) -> "OrderParameters":
        before = np.broadcast_to(self.a, (*newest.a.shape[:-1], *self.a.shape[-2:]))
        a = np.concatenate([before, newest.a[..., None, :]], axis=-2)
        return OrderParameters(a, with_edge(self.c, newest.c), with_row(self.x, newest.x))

    def row(self, stage: int) -> StageRow:
        return StageRow(self.a[stage], self.c[stage, : stage + 1], self.x[stage, : stage + 1])

    def norms(self) -> Float[Array, " stages"]:
        return np.hypot(np.linalg.norm(self.a, axis=1), np.sqrt(np.diag(self.c)))

    def selector(self, stage: int = -1) -> Float[Array, " coordinates"]:
        """A learner's direction in the coordinates of the rows that it chooses, by default the newest's."""
        view = np.append(self.a[stage], np.sqrt(self.c[stage, stage]))
        return view / np.linalg.norm(view)


def with_row(matrix: Float[Array, "*#J s s"], row: Float[Array, "*#J grown"]) -> Array:
    """A lower triangular matrix with one more row."""
    grown = np.zeros((*row.shape[:-1], row.shape[-1], row.shape[-1]))
    grown[..., :-1, :-1] = matrix
    grown[..., -1, :] = row
    return grown


def with_edge(matrix: Float[Array, "*#J s s"], row: Float[Array, "*#J grown"]) -> Array:
    """A symmetric matrix with one more row and column."""
    grown = with_row(matrix, row)
    grown[..., -1] = row
    return grown


# -- forces -----------------------------------------------------------------------------------------------------------


class RowView(NamedTuple):
    """How the scores of b stages depend on a row's coordinates: η = view·x + noise (T3.15)."""

    view: Float[Array, "*trials b K"]
    noise: Float[Array, "*trials b b"]  # its covariance
    shared: Float[Array, "*trials b"]  # C_jk/√C_kk, with the selector k

    @classmethod
    def of(cls, selector: int | None, orders: OrderParameters, stages: slice) -> "RowView":
        view, noise = orders.a[..., stages, :], orders.c[..., stages, stages]
        if selector is None:
            return cls(view, noise, np.zeros(view.shape[:-1]))
        shared = orders.c[..., stages, selector] / np.sqrt(orders.c[..., selector, selector])[..., None]
        noise = noise - shared[..., :, None] * shared[..., None, :]
        return cls(np.concatenate([view, shared[..., None]], axis=-1), noise, shared)


@dataclass(frozen=True)
class TrainingRows:
    """A cohort, with B of (T3.16) at the stages so far that train on it, for each weight."""

    cohort: Cohort
    slopes: Float[Array, "J b b"]

    @classmethod
    def of(cls, cohort: Cohort) -> "TrainingRows":
        return cls(cohort, np.zeros((len(cohort.kept.weight), 0, 0)))

    def newest(
        self, orders: OrderParameters, targets: Float[Array, " stages"], curvature: float = 1.0
    ) -> tuple[Array, ForceMeans]:
        """The last row of B, and the means of the newest force, under losses H(m y - h)²/2 with H and m of each stage.

        An infinite weight interpolates.
        """
        weight, mass, linear, second, frame, _ = self.cohort.kept
        b = slice(self.cohort.first, None)
        view, noise, _ = RowView.of(self.cohort.selector, orders, b)
        view, target = view @ frame, targets[b]
        bend = 1 / (1 / (curvature * weight) + orders.x[..., -1, -1, None])  # β, for each weight
        before = np.tensordot(-orders.x[..., -1, b][..., :-1], self.slopes, (-1, 1))
        row = bend[..., None] * np.concatenate([before, np.ones((*before.shape[:-1], 1))], axis=-1)
        pull, of_view = row @ target, row @ view
        by_view = pull[..., None] * linear - (of_view[..., None] * second).sum(-2)  # E[f_s x]
        by_label = pull * mass - (of_view * linear).sum(-1)  # E[f_s y]
        by_score = by_label[..., None] * target - by_view @ view.swapaxes(-1, -2) + mass[:, None] * (row @ noise)
        others = np.tensordot(by_score[..., :-1], self.slopes, ((-2, -1), (0, 2)))
        product = np.concatenate([others, (by_score * row).sum((-1, -2))[..., None]], axis=-1)
        return row, self.placed(orders, by_view.sum(-2), product, mass @ row)

    def placed(self, orders: OrderParameters, by_view: Array, product: Array, slope: Array) -> ForceMeans:
        """The means from E[f_s x], E[f_s fᵀ] and -E[df_s/dη] of this cohort, among all stages (T3.17)."""
        cohort, k = self.cohort, self.cohort.selector
        before = np.zeros((*slope.shape[:-1], cohort.first))
        by_view = by_view @ cohort.kept.frame.T
        product, gamma = (np.concatenate([before, part], axis=-1) for part in (product, slope))
        if k is not None:
            shared = RowView.of(k, orders, slice(cohort.first, None)).shared
            gamma[..., k] -= (by_view[..., -1] + (slope * shared).sum(-1)) / np.sqrt(orders.c[..., k, k])
        return ForceMeans(by_view[..., : orders.a.shape[-1]], product, gamma)


# -- the learners -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solution:
    """The learners of a scalar problem after some of its stages. It never changes: `grown` is one stage further.

    `modes`, `means` and `shift_by_mode` are M_e of (T3.7), M_e b u_e, and M_e(E[f gᵀ] - Λa/e)u_e; `ff` is E[f fᵀ].
    `targets` are those of the losses, 1 for the square. `overlap` is over |Σ^½w0|, `residual` relative, and `condition`
    is how much rounding moves X and C.
    """

    cell: "ScalarProblem"
    rows: tuple[TrainingRows, ...]
    orders: OrderParameters
    targets: Float[Array, " stages"]
    modes: Float[Array, "modes stages stages"]
    means: Float[Array, "modes stages"]
    shift_by_mode: Float[Array, "modes stages"]
    ff: Float[Array, "stages stages"]
    test_error: Float[Array, " stages"]
    overlap: Float[Array, " stages"]
    residual: Float[Array, " stages"]
    condition: Float[Array, " stages"]

    @classmethod
    def of(cls, cell: "ScalarProblem") -> "Solution":
        modes, k = cell.basis.shape
        none, by_mode, square, matrices = np.zeros(0), np.zeros((modes, 0)), np.zeros((0, 0)), np.zeros((modes, 0, 0))
        orders = OrderParameters(np.zeros((0, k)), square, square)
        return cls(cell, (), orders, none, matrices, by_mode, by_mode, square, none, none, none, none)

    @property
    def stages(self) -> int:
        return len(self.orders.a)

    @cached_property
    def training(self) -> list[TrainingRows]:
        """The rows that the next stage trains on, which are the last ones."""
        return [rows for rows in self.rows if rows.cohort.last > self.stages]

    @property
    def additions(self) -> list[Rows]:
        """What the rounds added, with plans resolved."""
        return [rows.cohort.placed.rows for rows in self.rows if rows.cohort.first]

    @property
    def kept(self) -> Float[Array, " stages"]:
        return self._so_far([rows.cohort.kept.mass.sum() for rows in self.rows])

    @property
    def candidates(self) -> Float[Array, " stages"]:
        return self._so_far([rows.cohort.candidates for rows in self.rows])

    def _so_far(self, sizes: list[float]) -> Array:
        return np.cumsum(np.bincount([rows.cohort.first for rows in self.rows], sizes), dtype=float)

    def outputs(self) -> Float[Array, "3 stages"]:
        return np.stack([self.test_error, self.overlap, np.square(self.orders.a).sum(1) + np.diag(self.orders.c)])

    def change(self, other: "Solution") -> Float[Array, " stages"]:
        """By how much the outputs of another differ, relative to these, and overlaps to |θ|."""
        outputs = self.outputs()
        sizes = np.stack([outputs[0], np.sqrt(outputs[2]), outputs[2]])
        return (np.abs(other.outputs() - outputs) / sizes).max(axis=0)

    def where(self) -> str:
        stage = min(self.stages, self.cell.stages - 1)
        return f"phi = {self.cell.phi:g}, lam = {self.cell.ridges[stage]:g}, stage {stage}"

    # -- one more stage

    def learner(self, newest: StageRow, forces: ForceMeans) -> tuple[Array, Array, Array]:
        """The rows of the newest stage in `modes`, `means` and `shift_by_mode`."""
        e, basis, lam = self.cell.eigenvalues, self.cell.basis, self.cell.ridges[self.stages]
        others, slope = forces.gamma[..., :-1], forces.gamma[..., -1:]
        own = e / (lam + e * slope)
        row = -own[..., None] * np.einsum("...j,ejk->...ek", others, self.modes)
        b = forces.fg + slope * newest.a + others @ self.orders.a
        mean = own * (b @ basis.T - others @ self.means.T)
        # (T3.9) less a is Σ M_e(E[f gᵀ] - (Λ/e)a) u_e u_eᵀ, without the cancellation of Γa
        pull = forces.fg @ basis.T - lam / e * (newest.a @ basis.T)
        shift = own * (pull - others @ self.shift_by_mode.T)
        return np.concatenate([row, own[..., None]], axis=-1), mean, shift

    def off(self, newest: StageRow, forces: ForceMeans) -> Float[Array, "*trials unknowns"]:
        """Right-hand sides of (T3.9), (T3.10) and (T3.11) minus a_s, C_s· and X_s·."""
        basis, phi = self.cell.basis, self.cell.phi
        row, mean, shift = self.learner(newest, forces)
        others, own = row[..., :-1], row[..., -1:]
        # (T3.10) with Σ (M_e b u_e)(M_e b u_e)ᵀ - aaᵀ as a sum of squares
        before = self.means - basis @ (basis.T @ self.means)
        deviation = mean - (mean @ basis) @ basis.T
        with_before = forces.ff[..., None, :-1]
        by_force = others @ self.ff + own * with_before  # M_e E[f f_j] for j < s
        own_force = (others * with_before).sum(-1) + own[..., 0] * forces.ff[..., -1:]
        with_others = np.einsum("...ek,ejk->...j", by_force, self.modes) / len(basis)
        with_own = ((by_force * others).sum(-1) + own[..., 0] * own_force).mean(-1)
        c_off = np.append(deviation @ before, (deviation**2).sum(-1)[..., None], axis=-1) - newest.c
        c_off = c_off + phi * np.append(with_others, with_own[..., None], axis=-1)
        return StageRow(shift @ basis, c_off, phi * row.mean(-2) - newest.x).vector()

    def miss(self, off: Array, newest: StageRow) -> float:
        """The largest of `off`, relative to the order parameters."""
        own = np.hypot(np.linalg.norm(newest.a), np.sqrt(newest.c[-1]))
        norms = np.append(self.orders.norms(), newest.c[-1] / own)
        sizes = np.concatenate([np.full(len(newest.a), own), norms * own, np.full(self.stages + 1, newest.x[-1])])
        return float(np.abs(off / sizes).max())

    def grown(
        self,
        newest: StageRow,
        forces: ForceMeans,
        slopes: Sequence[Array],
        residual: float,
        condition: float = 1.0,
        target: float = 1.0,
    ) -> "Solution":
        """With the newest stage, whose rows of B are `slopes`, for the last of `rows`; none where no stage follows."""
        row, mean, shift = self.learner(newest, forces)
        orders, means = self.orders.extended(newest), np.append(self.means, mean[:, None], axis=1)
        error, overlap = _outcome(self.cell, orders, means[:, -1])
        rows = list(self.rows)
        for place, row_of_b in enumerate(slopes, len(rows) - len(slopes)):
            rows[place] = replace(rows[place], slopes=with_row(rows[place].slopes, row_of_b))
        return Solution(
            self.cell,
            tuple(rows),
            orders,
            np.append(self.targets, target),
            with_row(self.modes, row),
            means,
            np.append(self.shift_by_mode, shift[:, None], axis=1),
            with_edge(self.ff, forces.ff),
            np.append(self.test_error, error),
            np.append(self.overlap, overlap),
            np.append(self.residual, residual),
            np.append(self.condition, condition),
        )


def _outcome(cell: "ScalarProblem", orders: OrderParameters, mean: Array) -> tuple[float, float]:
    """The newest stage's test error and overlap (T3.12), (T3.13)."""
    a, c, _ = orders
    along, norm, outside = cell.truth_in_span
    part = float(a[-1] @ along)
    overlap = part * norm + float(outside @ mean)
    across = a[-1] - part * along
    off = c[-1, -1] + across @ across + (part - overlap) * (part + overlap)  # without cancellation
    return float(np.arctan2(np.sqrt(off), overlap) / np.pi), overlap


# -- a stage, exactly -------------------------------------------------------------------------------------------------

Change = Callable[..., Array] | None  # what is done to numbers of a solution, to see what rounding does


def solved_stage(solution: Solution, change: Change) -> Solution:
    """The solution after one more stage. `change` is applied to its order parameters before the loop goes on."""
    cell, stage = solution.cell, solution.stages
    kept = sum(float(rows.cohort.kept.mass.sum()) for rows in solution.training)
    if cell.ridges[stage] == 0 and kept <= cell.phi * (1 + _AT_THE_PEAK):
        return _interpolated(solution, kept, change)
    newest, slopes, forces, residual, condition = _exact(solution)
    if change is not None:
        newest = StageRow(*map(change, newest))
        slopes, forces = _forces(solution, newest)
    return solution.grown(newest, forces, slopes, residual, condition)


def _interpolated(solution: Solution, kept: float, change: Change) -> Solution:
    """The limit λ → 0 with fewer kept rows than dimensions, in units of λ: weights are infinite (T2.10)."""
    cell = solution.cell
    if cell.rounds:
        raise InputError(
            f"lam = 0 needs more rows than dimensions: stage {solution.stages} has {kept:.3g}·n, not above d = phi·n"
            f" = {cell.phi:g}·n. Give lam > 0"
        )
    if kept >= cell.phi * (1 - _AT_THE_PEAK):  # where C is infinite, and a as nearby
        near_peak = replace(solution, cell=replace(cell, phi=kept * (1 + _BESIDE_THE_PEAK)))
        nearby = solved_stage(near_peak, change)
        peak = nearby.orders._replace(c=np.full_like(nearby.orders.c, np.inf))
        return replace(nearby, cell=cell, orders=peak, residual=np.zeros(1))
    rows = []
    for cohort in (each.cohort for each in solution.rows):
        infinite = cohort.kept._replace(weight=np.full_like(cohort.kept.weight, np.inf))
        rows.append(TrainingRows.of(replace(cohort, kept=infinite)))
    unit = replace(cell, ridges=np.ones(1))
    return solved_stage(replace(solution, cell=unit, rows=tuple(rows)), change)


def _forces(solution: Solution, newest: StageRow) -> tuple[Sequence[Array], ForceMeans]:
    """The last rows of B, and the means of forces over all cohorts."""
    orders = solution.orders.extended(newest)
    targets = np.ones(solution.stages + 1)
    slopes, means = zip(*(rows.newest(orders, targets) for rows in solution.training), strict=True)
    return slopes, ForceMeans(*(np.sum(part, axis=0) for part in zip(*means, strict=True)))


def _exact(solution: Solution) -> tuple[StageRow, Sequence[Array], ForceMeans, float, float]:
    """The stage, its forces, its residual, and what magnifies rounding.

    All but X_ss is affine, where C_ss has its own slope.
    """
    k, s = solution.orders.a.shape[1], solution.stages
    own = k + s  # the place of C_ss; that of X_ss is the last
    rest = np.delete(np.arange(k + 2 * s + 1), own)
    response, slope = _own_response(solution)
    deviations = np.sqrt(np.diag(solution.orders.c))
    unit = np.concatenate([np.ones(k), deviations * (deviations[-1] if s else 1.0), [1.0], np.full(s, response)])

    def off(vectors: Array) -> tuple[Array, StageRow, Sequence[Array], ForceMeans]:
        newest = StageRow.of(vectors, s + 1)
        slopes, forces = _forces(solution, newest)
        return solution.off(newest, forces), newest, slopes, forces

    vectors = np.vstack([np.zeros(k + 2 * s + 2), np.diag(np.append(unit, 0.0))[:-1]])
    vectors[:, -1] = response
    at_zero, *columns = off(vectors)[0][:, :-1] / unit
    inverse = np.linalg.inv((np.array(columns) - at_zero).T[np.ix_(rest, rest)])
    vector = vectors[0]
    vector[rest] = -unit[rest] * (inverse @ at_zero[rest])
    for left in range(_CORRECTIONS, -1, -1):
        missed, newest, slopes, forces = off(vector)
        correction = np.zeros_like(vector)
        correction[rest] = unit[rest] * (inverse @ (missed[rest] / unit[rest]))
        correction[own] = missed[own] / slope
        if not left or (vector[own] > 0 and solution.miss(correction, newest) < _ROUNDED):
            break
        vector = vector - correction
    residual = solution.miss(missed, newest) if vector[own] > 0 else np.inf
    return newest, slopes, forces, residual, 1 / abs(slope)


def _own_response(solution: Solution) -> tuple[float, float]:
    """X_ss, the root of (T3.18), found in ln X; and the slope of C_ss's equation."""
    cell, lam = solution.cell, solution.cell.ridges[solution.stages]
    e = cell.eigenvalues
    kept = [rows.cohort.kept for rows in solution.training]
    weight, mass = (np.concatenate([getattr(each, name) for each in kept]) for name in ("weight", "mass"))

    def own_mode(response: float) -> tuple[Array, Array]:
        bend = 1 / (1 / weight + response)
        return e / (lam + e * float(mass @ bend)), bend

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
    mode, bend = own_mode(response)
    return response, cell.phi * float(np.mean(mode**2) * (mass @ bend**2)) - 1


# -- all stages -------------------------------------------------------------------------------------------------------


def solve_loop(problem: "PracticeProblem") -> Solution:
    """A loop with scalar rules and the square loss, without a certificate."""
    (cell,) = problem.cells()
    return solve_cell(cell)


def solve_cell(
    cell: "ScalarProblem",
    order: int = ORDER,
    *,
    perturb: np.random.Generator | None = None,
    solve_stage: Callable[[Solution, Change], Solution] = solved_stage,
) -> Solution:
    """Solve a scalar problem, one stage after the other, without a certificate.

    `perturb` multiplies every moment and order parameter by 1 ± its rounding error.
    """

    def change(value: Array, error: float = _MOMENT_ERROR) -> Array:
        assert perturb is not None, "nothing is changed without"
        return value * (1 + error * perturb.choice((-1.0, 1.0), np.shape(value)))

    solution = Solution.of(cell)
    for stage in range(cell.stages):
        if stage:
            plan = cell.additions[stage - 1]
            rows = plan(float(solution.test_error[-1])) if callable(plan) else plan
            if not isinstance(rows, Rows) or rows.shape:
                raise InputError(f"additions[{stage - 1}] answers {rows!r}: it must answer an Addition, of numbers")
            labeller = np.append(cell.labeller, 0.0)
            new = (PlacedRows(rows, rows.flips(cell.flip), labeller, solution.orders.selector()),)
        else:
            new = cell.initial
        cohorts = []
        for placed in new:
            kept = placed.kept(order)
            cohort = Cohort.of(placed, kept, stage - 1 if stage else None, stage, cell.last_stage(stage))
            if perturb is not None:
                mass, linear, second = (change(part, max(_MOMENT_ERROR, kept.error)) for part in cohort.kept[1:4])
                second = (second + second.transpose(0, 2, 1)) / 2
                cohort = replace(cohort, kept=cohort.kept._replace(mass=mass, linear=linear, second=second))
            cohorts.append(cohort)
        size = sum(float(cohort.kept.mass.sum()) for cohort in cohorts)
        require("keep_fraction", size, size > 0, "be positive: no row is kept with a positive weight")
        with_rows = replace(solution, rows=(*solution.rows, *map(TrainingRows.of, cohorts)))
        solution = replace(solve_stage(with_rows, None if perturb is None else change), cell=cell)
        _require_resolved(solution)
    return solution


def _require_resolved(solution: Solution) -> None:
    cell, stage = solution.cell, solution.stages - 1
    where = f"phi = {cell.phi:g}, lam = {cell.ridges[stage]:g}, stage {stage}"
    variance, residual, error = solution.orders.c[-1, -1], solution.residual[-1], solution.test_error[-1]
    allowed = _MISSED if cell.is_square else np.inf  # other losses refuse what they miss themselves
    if not (residual < allowed and variance > 0):
        raise ConvergenceError(f"{where}: relative residual {residual:.1e}, C = {variance:.3g}; give a larger lam")
    if error < RESOLUTION and cell.rounds:
        raise ConvergenceError(
            f"{where}: test error {error:.1e}; below {RESOLUTION:.0e} double precision does not resolve the loop: ask"
            " for fewer rounds"
        )


# -- the certificate --------------------------------------------------------------------------------------------------


def certified(cell: "ScalarProblem", tolerance: float | None) -> tuple[Solution, Float[Array, " stages"]]:
    """The solution and its certificate: what rounding does, as a perturbed solution shows, and more nodes change."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    first, *orders = ORDERS
    solved = solve_cell(cell, first)
    rounding = _MOMENT_ERROR + _SAFETY * _effect_of_rounding(solved, first)
    for rows in solved.rows:  # rules of one's own are integrated once and for all
        require_certain(rows.cohort.placed.rows.keep, [rows.cohort.kept.error], tolerance)
    if not any(rows.cohort.placed.needs_quadrature for rows in solved.rows):
        return solved, np.maximum.accumulate(rounding)
    agreements = 2 if cell.rounds else 1  # two orders may miss the same feature of a learner's rule
    changes = [np.full(cell.stages, np.inf)] * agreements
    for order in orders:
        before = solved
        solved = solve_cell(cell, order)
        changes = [*changes[1:], _SAFETY * solved.change(before)]
        allowed = max(tolerance, float(rounding.max()))  # no node mends rounding
        if np.max(changes) <= allowed:
            return solved, np.maximum.accumulate(rounding + np.max(changes, axis=0))
    raise more_nodes(cell, orders[-1], float(np.max(changes)), tolerance)


def _effect_of_rounding(solved: Solution, order: int) -> Array:
    cell = solved.cell
    if not np.isfinite(solved.orders.c).all():  # the ridgeless peak
        return np.full(cell.stages, np.inf)
    try:
        perturbed = solve_cell(cell, order, perturb=np.random.default_rng(0))
    except ConvergenceError:
        return np.full(cell.stages, np.inf)
    return np.maximum(solved.change(perturbed), np.maximum(solved.residual, 4 * ROUNDING * solved.condition))


def more_nodes(cell: "ScalarProblem", order: int, change: float, tolerance: float) -> ConvergenceError:
    """Quadrature that does not meet its tolerance."""
    return ConvergenceError(
        f"phi = {cell.phi:g}, lam = {cell.ridges[-1]:g}: quadrature of order {order} still changes the result by "
        f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
    )
