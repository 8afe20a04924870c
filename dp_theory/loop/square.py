"""The loop under the square loss, from top to bottom: (T3.7) to (T3.18) of docs/theory/practice.md, stage by stage.

Nothing acts on earlier stages, so that of every matrix only the last row is new: one scalar root gives X_ss, and a
linear solve the rest. The method is that of Celentano, Cheng and Montanari 2021; docs/theory/span.md has one stage. For
stages s, j and a basis U of the fixed directions, with the entries u_e at an eigenvalue e:

    a_s   alignment Uᵀθ_s
    C_sj  covariance θ_s·θ_j off U
    X_sj  response: by how much a row's score h_s moves per unit of its force f_j; lower triangular
    Γ_sj  -E[df_s/dη_j], including that the selector's η_j decides which rows are kept
    x     a row's coordinates: (g, z_k/√C_kk) if stage k chose it, else g = Uᵀz

E sums over cohorts, in units of n. Where Σ = I one mode for each fixed direction stands for all d.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.groups import BoundaryFlips, MeasuredRows, PlacedRows, Rows
from dp_theory.loop.integrals import moments_by_nodes
from dp_theory.numerics.checks import ROUNDING, Array, Float, require, require_kind
from dp_theory.rules import KeepAll, Rule
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
# The most steps of Newton's method to a stage: the second finds C_ss, and the others undo rounding.
_STEPS = 4
# Relative size below which a correction of every unknown is rounding.
_ROUNDED = 1e-13
# Relative residual from which a stage is refused; below, it is in the certificate.
_MISSED = 1e-6
# Relative error, by rounding, of a moment and of an order parameter.
_MOMENT_ERROR = 16 * ROUNDING
# Factor of the certificate over what one perturbed solution shows, or more nodes change.
_SAFETY = 4

# The newest row of a, C and X, or of E[f gᵀ], E[f fᵀ] and Γ, in one vector; a first axis holds several at once.
Newest = Float[Array, "*trials unknowns"]


# -- triangular matrices, of which the last row is new ----------------------------------------------------------------


def with_row(matrix: Float[Array, "*#J s s"], row: Float[Array, "*#J grown"], edge: bool = False) -> Array:
    """A lower triangular matrix with one more row; a symmetric one with one more `edge`."""
    grown = np.zeros((*row.shape[:-1], row.shape[-1], row.shape[-1]))
    grown[..., :-1, :-1] = matrix
    if edge:
        grown[..., -1] = row
    grown[..., -1, :] = row
    return grown


def inverse_row(
    before: Float[Array, "J s s"], row: Float[Array, "*trials grown"], diagonal: Float[Array, " J"]
) -> Float[Array, "*trials J grown"]:
    """The last row of (lower triangular matrix + diagonal)^-1 for J diagonals, of its last row and inverses before.

    There is at most one axis of trials.
    """
    own = 1 / (row[..., -1:] + diagonal)
    others = np.moveaxis(row[..., :-1] @ before, 0, -2)
    return own[..., None] * np.concatenate([-others, np.ones((*own.shape, 1))], axis=-1)


def summed(vectors: Float[Array, "*trials J grown"], before: Float[Array, "J s s"], row: Array) -> Array:
    """The sum over J of vectors times transposed inverses, whose last row is `row`."""
    others = np.tensordot(vectors[..., :-1], before, ((-2, -1), (0, 2)))
    return np.concatenate([others, (vectors * row).sum((-2, -1))[..., None]], axis=-1)


# -- the fixed point --------------------------------------------------------------------------------------------------


class OrderParameters(NamedTuple):
    """a, C and X of S stages."""

    a: Float[Array, "*trials stages k"]
    c: Float[Array, "*trials stages stages"]
    x: Float[Array, "*trials stages stages"]

    def split(self, row: Newest) -> tuple[Array, Array, Array]:
        """The parts of a row of the next stage."""
        stages, k = self.a.shape
        return row[..., :k], row[..., k : k + stages + 1], row[..., k + stages + 1 :]

    def grown(self, newest: Newest) -> "OrderParameters":
        a, c, x = self.split(newest)
        before = np.broadcast_to(self.a, (*a.shape[:-1], *self.a.shape))
        a = np.concatenate([before, a[..., None, :]], axis=-2)
        return OrderParameters(a, with_row(self.c, c, edge=True), with_row(self.x, x))


@dataclass(frozen=True)
class Solution:
    """The learners of a scalar problem after some of its stages. It never changes: `grown` is one stage further.

    `modes` are M_e of (T3.7), and `shift` is M_e(E[f gᵀ] - Λa/e)u_e, by which M_e b u_e differs from a·u_e; `ff` is
    E[f fᵀ]. `outputs` are test error, overlap over |Σ^½w0|, and squared norm. `residual` is relative: the part of a
    stage that is not solved, or rounding's.
    """

    cell: "ScalarProblem"
    cohorts: tuple["Cohort", ...]
    orders: OrderParameters
    modes: Float[Array, "modes stages stages"]
    shift: Float[Array, "modes stages"]
    ff: Float[Array, "stages stages"]
    outputs: Float[Array, "3 stages"]
    residual: Float[Array, " stages"]

    @property
    def test_error(self) -> Float[Array, " stages"]:
        return self.outputs[0]

    @property
    def stages(self) -> int:
        return len(self.orders.a)

    @property
    def training(self) -> "tuple[Cohort, ...]":
        """The rows that the next stage trains on, which are the last ones."""
        return tuple(cohort for cohort in self.cohorts if cohort.last > self.stages)

    @property
    def additions(self) -> list[Rows]:
        """What the rounds added, with plans resolved."""
        return [cohort.placed.rows for cohort in self.cohorts if cohort.first]

    def sizes(self) -> Float[Array, "2 stages"]:
        """Rows kept and looked at so far, in units of n."""
        sizes = np.zeros((2, self.stages))
        for cohort in self.cohorts:
            sizes[:, cohort.first] += cohort.mass.sum(), cohort.candidates
        return sizes.cumsum(axis=1)

    def change(self, other: "Solution") -> Float[Array, " stages"]:
        """By how much the outputs of another differ, relative to these, and overlaps to |θ|."""
        test_error, _, square = self.outputs
        return (np.abs(other.outputs - self.outputs) / [test_error, np.sqrt(square), square]).max(axis=0)

    def equations(self, newest: Newest, means: Newest) -> tuple[Newest, Array, Array]:
        """Right-hand sides of (T3.9) to (T3.11) minus a_s, C_s· and X_s·; the newest rows of `modes` and `shift`."""
        (a, c, x), (fg, ff, gamma) = self.orders.split(newest), self.orders.split(means)
        phi, basis, firmness = self.cell.phi, self.cell.basis, self.cell.ridges[self.stages] / self.cell.eigenvalues
        # (T3.7) is M_e = (Λ/e + Γ)^-1; with b of (T3.8), M_e b u_e is a·u_e + shift
        modes = inverse_row(self.modes, gamma, firmness)
        pull = fg @ basis.T - firmness * (a @ basis.T)
        shift = modes[..., -1] * (pull - gamma[..., :-1] @ self.shift.T)
        a_off = shift @ basis  # (T3.9)
        # (T3.10): Σ (M_e b u_e)(M_e b u_e)ᵀ - aaᵀ without cancellation, and the forces' share
        across = shift - a_off @ basis.T
        spread = np.concatenate([across @ self.shift, (across**2).sum(-1)[..., None]], axis=-1)
        by_force = summed(modes @ with_row(self.ff, ff, edge=True), self.modes, modes) / len(basis)
        c_off = spread + phi * by_force - c
        x_off = phi * modes.mean(-2) - x  # (T3.11)
        return np.concatenate([a_off, c_off, x_off], axis=-1), modes, shift

    def miss(self, off: Newest, newest: Newest) -> float:
        """The largest of `off`, relative to the order parameters."""
        a, c, x = self.orders.split(newest)
        own = np.hypot(np.linalg.norm(a), np.sqrt(c[-1]))
        norms, responses = np.append(np.sqrt(self.outputs[2]), c[-1] / own), np.append(np.diag(self.orders.x), x[-1])
        return float(np.abs(off / np.concatenate([np.full(len(a), own), norms * own, responses])).max())

    def grown(self, newest: Newest, means: Newest, residual: float) -> "Solution":
        """With the newest stage."""
        (a, c, _), (_, ff, _) = self.orders.split(newest), self.orders.split(means)
        _, modes, shift = self.equations(newest, means)
        # (T3.12) and (T3.13), again without cancellation
        along, norm, outside = self.cell.truth_in_span
        part = a @ along
        overlap = part * norm + outside @ shift
        across = a - part * along
        off = c[-1] + across @ across + (part - overlap) * (part + overlap)
        test_error = np.arctan2(np.sqrt(off), overlap) / np.pi
        return Solution(
            self.cell,
            self.cohorts,
            self.orders.grown(newest),
            with_row(self.modes, modes),
            np.column_stack([self.shift, shift]),
            with_row(self.ff, ff, edge=True),
            np.column_stack([self.outputs, [test_error, overlap, a @ a + c[-1]]]),
            np.append(self.residual, residual),
        )


# -- a selected row ---------------------------------------------------------------------------------------------------


def kept_moments(placed: PlacedRows, order: int) -> tuple[Float[Array, " J"], Float[Array, "J 3 3"], float]:
    """The J distinct weights of the kept rows, E[(y, t, ζ)(y, t, ζ)ᵀ; weight] per candidate, and its error.

    Quadrature of this order stands in where no closed form is known.
    """
    rows = placed.rows
    if placed.needs_quadrature:
        return *moments_by_nodes(placed, order), 0.0
    if isinstance(rows, MeasuredRows):
        moments = np.column_stack([np.append(1.0, rows.linear), np.vstack([rows.linear, rows.second])])
        return np.ones(1), moments[None], 0.0
    rule, share = (rows.keep, 1.0) if isinstance(rows.keep, Rule) else (KeepAll(), rows.keep)
    of_rule, errors = rule.moments_with_errors(float(np.clip(placed.slope, -1, 1)))
    p, gamma, beta, beta_tilde = share * (rows.weight > 0) * np.array(of_rule)
    assert not isinstance(placed.flip, BoundaryFlips), "these are integrated"
    along, own = (1 - 2 * float(placed.flip)) * np.array([beta_tilde, beta])
    moments = np.array([[[p, along, own], [along, gamma, 0], [own, 0, p]]])
    return np.array([rows.weight or 1.0], float), moments, float(max(errors))  # if none is kept, any weight will do


@dataclass(frozen=True)
class Cohort:
    """The rows of one round in units of n, which train the stages first ≤ s < last; `selector` chose them.

    Kept are rows of J distinct weights. `moments` are E[(y, x)(y, x)ᵀ; weight] with x = (t, ζ, …) in `frame`, and
    `error` their relative error. `slopes` are B of (T3.16) at the stages so far, for each weight.
    """

    placed: PlacedRows
    weight: Float[Array, " J"]
    moments: Float[Array, "J grown grown"]
    frame: Float[Array, "k k"]
    error: float
    candidates: float
    selector: int | None
    first: int
    last: int
    slopes: Float[Array, "J b b"]

    @classmethod
    def of(cls, placed: PlacedRows, order: int, first: int, last: int) -> "Cohort":
        weight, moments, error = kept_moments(placed, order)
        size = placed.rows.candidates_at(float(moments[:, 0, 0].sum()))
        # without the labeller's own coordinate where it has none, and with all others
        frame = placed.frame[:, : 1 + placed.frame[:, 1].any()]
        k, columns = frame.shape
        of_all, known = moments[:, :1, :1] * np.eye(k + 1), slice(columns + 1)
        of_all[:, known, known] = moments[:, known, known]
        others = np.linalg.qr(frame, mode="complete")[0][:, columns:]
        frame, none = np.column_stack([frame, others]), np.zeros((len(weight), 0, 0))
        selector = first - 1 if first else None
        return cls(placed, weight, size * of_all, frame, error, size, selector, first, last, none)

    @property
    def mass(self) -> Float[Array, " J"]:
        return self.moments[:, 0, 0]

    def scores(self, orders: OrderParameters) -> tuple[Array, Array, Array]:
        """η of its b stages (T3.15): the slopes on a row's t, ζ, …, the noise's covariance, and C_jk/√C_kk."""
        k, stages = self.selector, slice(self.first, self.last)
        view, noise = orders.a[..., stages, :], orders.c[..., stages, stages]
        if k is None:
            return view @ self.frame, noise, np.zeros(view.shape[:-1])
        of_selector, variance = orders.c[..., k, stages], orders.c[..., k, k, None]
        share = of_selector / variance  # 1 for the selector itself, which has no noise at all
        noise = noise - share[..., :, None] * of_selector[..., None, :]
        shared = share * np.sqrt(variance)
        return np.concatenate([view, shared[..., None]], axis=-1) @ self.frame, noise, shared


# -- the square loss --------------------------------------------------------------------------------------------------


def forces(solution: Solution, newest: Newest) -> tuple[Newest, list[Array]]:
    """The newest row of E[f gᵀ], E[f fᵀ] and Γ (T3.17), and that of each cohort's B (T3.16)."""
    orders, means, slopes = solution.orders.grown(newest), np.zeros(newest.shape), []
    fg, ff, gamma = solution.orders.split(means)
    for cohort in solution.training:
        k, b = cohort.selector, slice(cohort.first, None)
        view, noise, shared = cohort.scores(orders)
        row = inverse_row(cohort.slopes, orders.x[..., -1, b], 1 / cohort.weight)
        # y - η = pull·(y, x) - noise
        pull = np.concatenate([np.ones((*view.shape[:-1], 1)), -view], axis=-1)
        by_row = np.einsum("...jk,jkl->...jl", row @ pull, cohort.moments)  # E[f_s (y, x)], f = B(y - η)
        by_pull = by_row @ pull.swapaxes(-1, -2) + cohort.mass[:, None] * (row @ noise)  # E[f_s (y - η)]
        by_view, slope = by_row[..., 1:].sum(-2) @ cohort.frame.T, cohort.mass @ row
        fg += by_view[..., : fg.shape[-1]]
        ff[..., b] += summed(by_pull, cohort.slopes, row)
        gamma[..., b] += slope
        if k is not None:  # Stein's column
            gamma[..., k] -= (by_view[..., -1] + (slope * shared).sum(-1)) / np.sqrt(orders.c[..., k, k])
        slopes.append(row)
    return means, slopes


def own_response(cell: "ScalarProblem", lam: float, weight: Float[Array, " J"], mass: Float[Array, " J"]) -> float:
    """X_ss, the root of (T3.18), found in ln X."""

    def excess(log_response: float) -> float:
        response = np.exp(log_response)
        slope = float(mass @ (1 / (1 / weight + response)))
        return 1 - cell.phi * float(np.mean(cell.eigenvalues / (lam + cell.eigenvalues * slope))) / response

    low = high = float(np.log(cell.phi))
    while excess(low) > 0:
        low -= 4
    while excess(high) < 0:
        high += 4
    # root_scalar: scipy.optimize.elementwise.find_root takes 13 times as long for one root
    return float(np.exp(root_scalar(excess, bracket=(low, high), xtol=1e-15, rtol=1e-15).root))


def solved_stage(solution: Solution, drawn_errors: np.random.Generator | None = None) -> Solution:
    """The solution after one more stage, with `drawn_errors` in its order parameters."""
    cell, stage, training = solution.cell, solution.stages, solution.training
    weight = np.concatenate([cohort.weight for cohort in training])
    mass = np.concatenate([cohort.mass for cohort in training])
    if cell.ridges[stage] == 0 and (kept := mass.sum()) <= cell.phi * (1 + _AT_THE_PEAK):
        return _interpolated(solution, kept, drawn_errors)
    k = cell.basis.shape[1]
    own = k + stage  # the place of C_ss; that of X_ss is the last

    def off(newest: Newest) -> tuple[Array, Newest, list[Array]]:
        means, slopes = forces(solution, newest)
        return solution.equations(newest, means)[0][..., :-1] / unit, means, slopes

    # given X_ss all is affine, but that C_ss is quadratic in the others, which do not depend on it
    newest = np.zeros(own + stage + 2)
    newest[-1] = own_response(cell, cell.ridges[stage], weight, mass)
    deviations = np.sqrt(np.diag(solution.orders.c))
    unit = np.concatenate([np.ones(k), deviations * deviations[-1:], [1.0], np.diag(solution.orders.x)])
    missed, *columns = off(newest + np.pad(np.diag(unit), ((1, 0), (0, 1))))[0]
    jacobian = (np.array(columns) - missed).T
    jacobian[own] *= np.arange(len(unit)) == own
    inverse = np.linalg.inv(jacobian)
    for _ in range(_STEPS):
        newest = newest - np.append(unit * (inverse @ missed), 0.0)
        missed, means, slopes = off(newest)
        correction = np.append(unit * (inverse @ missed), 0.0)
        if np.all(np.abs(correction) <= _ROUNDED * np.abs(newest)):
            break
    residual = solution.miss(correction, newest) if newest[own] > 0 else np.inf
    if not residual < _MISSED:
        raise ConvergenceError(
            f"{cell.where(stage)}: relative residual {residual:.1e}, C = {newest[own]:.3g}; give a larger lam"
        )
    if drawn_errors is not None:
        newest = perturbed(newest, drawn_errors)
        means, slopes = forces(solution, newest)
    training = tuple(
        replace(cohort, slopes=with_row(cohort.slopes, row)) for cohort, row in zip(training, slopes, strict=True)
    )
    solution = replace(solution, cohorts=solution.cohorts[: -len(training)] + training)
    return solution.grown(newest, means, max(residual, 4 * ROUNDING / abs(jacobian[own, own])))


def _interpolated(solution: Solution, kept: float, drawn_errors: np.random.Generator | None) -> Solution:
    """The limit λ → 0 with fewer kept rows than dimensions, in units of λ: weights are infinite (T2.10)."""
    cell = solution.cell
    if cell.rounds:
        raise InputError(
            f"lam = 0 needs more rows than dimensions: stage {solution.stages} has {kept:.3g}·n, not above d = phi·n"
            f" = {cell.phi:g}·n. Give lam > 0"
        )
    if kept >= cell.phi * (1 - _AT_THE_PEAK):  # C and so the norm is infinite; a, and what else remains, is as nearby
        near_peak = replace(solution, cell=replace(cell, phi=kept * (1 + _BESIDE_THE_PEAK)))
        nearby = solved_stage(near_peak, drawn_errors)
        return replace(nearby, outputs=np.vstack([nearby.outputs[:2], [[np.inf]]]))
    infinite = [replace(cohort, weight=np.full_like(cohort.weight, np.inf)) for cohort in solution.cohorts]
    return solved_stage(replace(solution, cell=replace(cell, ridges=np.ones(1)), cohorts=tuple(infinite)), drawn_errors)


# -- all stages -------------------------------------------------------------------------------------------------------


def solve_loop(problem: "PracticeProblem") -> Solution:
    """A loop with the square loss, without a certificate."""
    return solve_cell(problem.cell)


def solve_cell(
    cell: "ScalarProblem",
    order: int = ORDER,
    solve_stage: Callable[[Solution], Solution] | None = None,
    drawn_errors: np.random.Generator | None = None,
) -> Solution:
    """Solve a scalar problem, one stage after the other, without a certificate.

    `solve_stage` is that of another loss. `drawn_errors`, for the square loss alone, perturb moments and order
    parameters as rounding may.
    """
    modes, k = cell.basis.shape
    none, of_modes = np.zeros((0, 0)), (np.zeros((modes, 0, 0)), np.zeros((modes, 0)))
    orders = OrderParameters(np.zeros((0, k)), none, none)
    solution = Solution(cell, (), orders, *of_modes, none, np.zeros((3, 0)), np.zeros(0))
    for stage in range(cell.stages):
        new = cell.initial
        if stage:
            plan = cell.additions[stage - 1]
            rows: Any = plan(float(solution.test_error[-1])) if callable(plan) else plan
            require_kind(f"the answer of additions[{stage - 1}]", rows, Rows, "an Addition")
            # in the coordinates (g, z_k/√C_kk) of the rows that the newest learner chooses
            learner = np.append(solution.orders.a[-1], np.sqrt(solution.orders.c[-1, -1]))
            new = (PlacedRows.of(rows, cell.flip, np.eye(2)[0], learner / np.linalg.norm(learner)),)
        cohorts = [Cohort.of(placed, order, stage, cell.stages if cell.accumulate else stage + 1) for placed in new]
        size = sum(float(cohort.mass.sum()) for cohort in cohorts)
        require("keep_fraction", size, size > 0, "be positive: no row is kept with a positive weight")
        if drawn_errors is not None:
            cohorts = [
                replace(cohort, moments=perturbed(cohort.moments, drawn_errors, max(_MOMENT_ERROR, cohort.error)))
                for cohort in cohorts
            ]
        solution = replace(solution, cohorts=(*solution.cohorts, *cohorts))
        solution = solve_stage(solution) if solve_stage else solved_stage(solution, drawn_errors)
        solution = replace(solution, cell=cell)
        error = solution.test_error[-1]
        if error < RESOLUTION and cell.rounds:
            raise ConvergenceError(
                f"{cell.where(stage)}: test error {error:.1e}; below {RESOLUTION:.0e} double precision does not resolve"
                " the loop: ask for fewer rounds"
            )
    return solution


# -- the certificate --------------------------------------------------------------------------------------------------


def certified(cell: "ScalarProblem", tolerance: float | None) -> tuple[Solution, Float[Array, " stages"]]:
    """The solution and its certificate: what rounding does, as a perturbed solution shows, and more nodes change."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    first, *orders = ORDERS
    solved = solve_cell(cell, first)
    effect = np.full(cell.stages, np.inf)  # at the ridgeless peak, or where errors leave no solution
    if np.isfinite(solved.outputs).all():
        with suppress(ConvergenceError):
            other = solve_cell(cell, first, drawn_errors=np.random.default_rng(0))
            effect = np.maximum(solved.change(other), solved.residual)
    rounding = _SAFETY * (_MOMENT_ERROR + effect)
    require_certain_rules(solved.cohorts, tolerance)
    if not any(cohort.placed.needs_quadrature for cohort in solved.cohorts):
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


def perturbed(value: Array, drawn_errors: np.random.Generator, error: float = _MOMENT_ERROR) -> Array:
    """With relative errors of this size."""
    return value * (1 + error * drawn_errors.choice((-1.0, 1.0), value.shape))


def require_certain_rules(cohorts: Sequence[Cohort], tolerance: float) -> None:
    """Rules of one's own are integrated once and for all."""
    for cohort in cohorts:
        require_certain(cohort.placed.rows.keep, [cohort.error], tolerance)


def more_nodes(cell: "ScalarProblem", order: int, change: float, tolerance: float) -> ConvergenceError:
    """Quadrature that does not meet its tolerance."""
    return ConvergenceError(
        f"phi = {cell.phi:g}, lam = {cell.ridges[-1]:g}: quadrature of order {order} still changes the result by "
        f"{change:.1e}, more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
    )
