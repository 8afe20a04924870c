"""Dynamical mean-field theory of the practice loop: its equations in the limit n, d → ∞ (derived here).

Why it is needed. If every stage trains on fresh rows, these are independent of their selector, and Theorem 1 applies
with rho = cos(πE_k). If the pool accumulates, ŵ_s has been fitted to rows that also trained ŵ_k, and ŵ_k chose more of
ŵ_s's rows. Treating those as an independent mixture is wrong at leading order. Dynamical mean-field theory keeps track
of both effects. The method is that of Celentano, Cheng and Montanari 2021 ("The high-dimensional asymptotics of first
order methods with random data"). In their words C and E[f fᵀ] below are the correlation functions of estimates and
residuals, X and -Γ their response functions.

The same equations with their derivation are on docs/theory/practice.md, whose numbers are used here.

Model
    Stages s = 0, 1, … minimise (1/n) Σ_i c_i ℓ(w·x_i; y_i) + (λ_s/2)|w|² over the rows that they have (T3.1), and give
    ŵ_s. Rows are x = Σ^½z, z ~ N(0, I_d); θ_s = Σ^½ŵ_s; v is the unit vector along Σ^½w_g; g = z·v is the labeller's
    score of a row, and y its observed label. A round's rows were kept by the scores of one stage k, the selector, or
    are plain. They have a weight c, and train some of the later stages (dp_theory.practice.cohorts).

Order parameters, for all stages s, j
    a_s     alignment: θ_s·v
    C_sj    covariance: (θ_s·θ_j) off v
    X_sj    response: by how much the score h_s of a row moves, per unit of the force f_j with which the row pulled at
            stage j. X is lower triangular, since no stage acts on the ones before it.

One row
    (T3.3)  η_s = a_s g + z_s,   z ~ N(0, C) independent of g     the score by stage s, were the row in no pool
    (T3.4)  h_s = η_s + Σ_{j≤s} X_sj f_j                          the fitted score; j trains on the row
    (T3.5)  f_s = -c ℓ'(h_s; y)                                   the residual force of the row on stage s

All rows. E is the sum over cohorts, in units of n, of the mean over their kept rows.
    (T3.6)  Γ_sj = -E[df_s/dη_j]     including that η_j decides which rows are kept, where j is their selector
         E[f fᵀ] and E[f g] with the forces of (T3.5)

Learners. The entry of θ_s along the eigenvector of Σ with eigenvalue e, at which v has the entry v_e, is distributed as
    (T3.7)  θ_e = M_e (v_e b + ξ_e),   M_e = e(Λ + eΓ)^-1,   Λ = diag(λ_s),   ξ_e ~ N(0, E[f fᵀ]/n)
    (T3.8)  b = E[f g] + Γa
so that the order parameters close:
    (T3.9)  a = Σ_e v_e² M_e b
    (T3.10)  C = Σ_e v_e² (M_e b)(M_e b)ᵀ - aaᵀ + (1/n) Σ_e M_e E[f fᵀ] M_eᵀ
    (T3.11)  X = (1/n) Σ_e M_e
    Where Σ = I a single mode e = v_e = 1 stands for all d: (1/n)Σ_e is phi times the mean over modes in either case.

Results
    (T3.12) o_s = θ_s·u = Σ_e u_e v_e (M_e b)_s     u the unit vector along Σ^½w0
    (T3.13) E_s = arctan(√(a_s² + C_ss - o_s²)/o_s)/π

Selection. The selector k sees t = η_k/|θ_k| and does not see ζ. With ρ = a_k/|θ_k| and r = √(1 - ρ²)
    (T3.14) g = ρt + rζ,   z_k = |θ_k| r (rt - ρζ)
    (T3.15) η_s = a_s g + (C_sk/C_kk) z_k + noise,   Cov(noise) = C - C_·k C_k·/C_kk
    For plain rows t = g, and the noise is z.

Forces of quadratic losses ℓ_s(h; y) = H_s(m_s y - h)²/2, of which the square loss is H = m = 1, are linear. Over the
stages that train on a row of weight c
    (T3.16) f = B(m y - η),   B = D(I + XD)^-1,   D = c diag(H)
    (T3.17) Γ = E[B] within these stages, and Γ_·k = -(E[f z_k] + E[B] C_·k)/C_kk
    The second part is the effect of selection. It follows from Stein's lemma, and has no densities at thresholds.

Order of computation. dp_theory.practice.prediction goes through the stages. For each it makes the newest round's cohort
(.cohorts), solves (T3.9) to (T3.11) for the newest rows of a, C and X (.square_loop for the square loss, .convex_loop
for others), and evaluates (T3.12) and (T3.13). The order parameters of earlier stages do not change.

Shapes. S stages; b stages that train on a cohort; J classes of a cohort; `modes` eigenvalues. Leading axes `trials` are
values of the order parameters that are tried at once; they differ in the last stage only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.practice_problem import PracticeProblem

if TYPE_CHECKING:
    from jaxtyping import Float


class OrderParameters(NamedTuple):
    """The order parameters a, C and X of S stages."""

    a: Float[np.ndarray, "*trials stages"]
    c: Float[np.ndarray, "*trials stages stages"]
    x: Float[np.ndarray, "*trials stages stages"]

    @classmethod
    def of_no_stage(cls) -> OrderParameters:
        """Those before the first stage."""
        return cls(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))

    @property
    def stages(self) -> int:
        """The number of stages S."""
        return self.a.shape[-1]

    def with_zeros(self) -> OrderParameters:
        """One more stage, whose order parameters are 0. There must be no leading axes."""
        return OrderParameters(np.append(self.a, 0.0), np.pad(self.c, (0, 1)), np.pad(self.x, (0, 1)))

    def cosine(self) -> float:
        """The cosine between θ of the newest stage and v."""
        return self.a[-1] / np.hypot(self.a[-1], np.sqrt(self.c[-1, -1]))


class Forces(NamedTuple):
    """The means over all rows of the residual forces, of their products and of their slopes: (T3.6)."""

    gamma: Float[np.ndarray, "*trials stages stages"]  # Γ
    ff: Float[np.ndarray, "*trials stages stages"]  # E[f fᵀ]
    fg: Float[np.ndarray, "*trials stages"]  # E[f g]

    @classmethod
    def of_no_stage(cls) -> Forces:
        """Those before the first stage."""
        return cls(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))


class SolvedStage(NamedTuple):
    """One more stage: the order parameters of all stages, the forces there, and by how much the equations are missed.

    `residual` is relative to the sizes of the order parameters.
    """

    parameters: OrderParameters
    forces: Forces
    residual: float


# -- the learners: (T3.7) to (T3.13) -----------------------------------------------------------------------------------


def residuals(problem: PracticeProblem, forces: Forces, parameters: OrderParameters) -> OrderParameters:
    """Right-hand sides of (T3.9), (T3.10) and (T3.11) minus a, C and X, for the stages that these have.

    `forces` are those at these order parameters.
    """
    a, c, x = parameters
    gamma, ff, fg = forces
    e = problem.eigenvalues
    v = problem.labeller_direction
    m = mode_matrices(problem, gamma)
    means = _mode_means(m, fg + (gamma @ a[..., None])[..., 0])
    # (T3.9) as Σ v_e² M_e(E[f g] - (Λ/e)a), which is the same without the cancellation of Γa
    pull = fg[..., None, :] - problem.ridges[: a.shape[-1]] / e[:, None] * a[..., None, :]
    a_off = (v[:, None] ** 2 * (m @ pull[..., None])[..., 0]).sum(axis=-2)
    # (T3.10) with Σ v_e² (M_e b)(M_e b)ᵀ - aaᵀ as a sum of squares
    deviation = v[:, None] * (means - (v**2 @ means)[..., None, :])
    fluctuation = problem.phi * (m @ ff[..., None, :, :] @ m.mT).mean(axis=-3)
    c_off = deviation.mT @ deviation + fluctuation - c
    x_off = problem.phi * m.mean(axis=-3) - x  # (T3.11)
    return OrderParameters(a_off, c_off, x_off)


def mode_matrices(
    problem: PracticeProblem, gamma: Float[np.ndarray, "*trials stages stages"]
) -> Float[np.ndarray, "*trials modes stages stages"]:
    """M_e of (T3.7), for the stages that Γ has."""
    e = problem.eigenvalues[:, None, None]
    ridges = np.diag(problem.ridges[: gamma.shape[-1]])
    return e * np.linalg.inv(ridges + e * gamma[..., None, :, :])


def _mode_means(m: Array, b: Array) -> Array:
    """M_e b of (T3.7), the mean of θ_e over v_e: (*trials, modes, S)."""
    return (m @ b[..., None, :, None])[..., 0]


def overlaps(problem: PracticeProblem, forces: Forces, a: Float[np.ndarray, " stages"]) -> Float[np.ndarray, " stages"]:
    """The overlaps o of (T3.12), from solved order parameters."""
    if np.ndim(problem.labeller) == 0:  # the truth labels, or Σ = I, where θ off the labeller is isotropic
        return np.asarray(problem.labeller) * a
    means = _mode_means(mode_matrices(problem, forces.gamma), forces.fg + forces.gamma @ a)
    return (problem.truth_direction * problem.labeller_direction) @ means


def newest_error(parameters: OrderParameters, overlap: float) -> float:
    """The test error (T3.13) of the newest stage, whose overlap is given."""
    alignment = parameters.a[-1]
    off = parameters.c[-1, -1] + (alignment - overlap) * (alignment + overlap)  # without cancellation
    return np.arctan2(np.sqrt(off), overlap) / np.pi


# -- a row that a stage selected: (T3.14) and (T3.15) ------------------------------------------------------------------


class SelectedRow(NamedTuple):
    """How the scores of b stages depend on (t, ζ) of a row: η = view·(t, ζ) + noise.

    g = g·(t, ζ) and z_k = z_k·(t, ζ) are (T3.14).
    """

    view: Float[np.ndarray, "*trials b 2"]
    noise: Float[np.ndarray, "*trials b b"]  # covariance of the noise
    g: Float[np.ndarray, " 2"]
    z_k: Float[np.ndarray, " 2"]


def selected_row(selector: int | None, parameters: OrderParameters, stages: slice) -> SelectedRow:
    """Equations (T3.14) and (T3.15), for rows of this selector and for these stages."""
    a, c, _ = parameters
    own = a[..., stages, None]
    noise = c[..., stages, stages]
    if selector is None:
        return SelectedRow(own * np.array([1.0, 0.0]), noise, np.array([1.0, 0.0]), np.zeros(2))
    k = selector
    alignment = a[..., k].flat[0]  # the selector is an earlier stage: it is the same in all trials
    variance = c[..., k, k].flat[0]
    norm = np.hypot(alignment, np.sqrt(variance))
    rho = alignment / norm
    r = np.sqrt(variance) / norm
    g = np.array([rho, r])
    z_k = norm * r * np.array([r, -rho])
    shared = c[..., stages, k, None] / variance
    return SelectedRow(own * g + shared * z_k, noise - shared * c[..., k, None, stages], g, z_k)


# -- forces of quadratic losses: (T3.16) and (T3.17) -------------------------------------------------------------------


class Quadratics(NamedTuple):
    """A quadratic loss H(m y - h)²/2 for each stage."""

    curvature: Float[np.ndarray, " stages"]  # H
    target: Float[np.ndarray, " stages"]  # m

    @classmethod
    def square(cls, stages: int) -> Quadratics:
        """The square loss at every stage."""
        return cls(np.ones(stages), np.ones(stages))

    def extended(self, curvature: float, target: float) -> Quadratics:
        """One more stage."""
        return Quadratics(np.append(self.curvature, curvature), np.append(self.target, target))


def linear_forces(cohorts: Sequence[Cohort], parameters: OrderParameters, losses: Quadratics) -> Forces:
    """The means of (T3.6) over all cohorts for quadratic losses, in closed form."""
    a, c, _ = parameters
    total = Forces(np.zeros(c.shape), np.zeros(c.shape), np.zeros(a.shape))
    for cohort in cohorts:
        if cohort.first < parameters.stages:
            _add_linear_forces(total, cohort, parameters, losses)
    return total


def _add_linear_forces(total: Forces, cohort: Cohort, parameters: OrderParameters, losses: Quadratics) -> None:
    """Add what one cohort contributes to `total`, in place. Arrays have the shapes (*trials, J, …) until summed."""
    _, c, x = parameters
    i = slice(cohort.first, min(cohort.last, parameters.stages))  # the b stages that train on the rows
    row = selected_row(cohort.selector, parameters, i)
    mass = cohort.mass[:, None, None]
    stiffness = _force_stiffness(cohort.weight, x[..., i, i], losses.curvature[i])
    # (T3.16) with (T3.15): f = pull·y - slopes·(t, ζ) - stiffness·noise
    pull = stiffness @ losses.target[i, None]
    slopes = stiffness @ row.view[..., None, :, :]

    # E[f fᵀ], from E[y²] = 1, E[y(t, ζ)] and E[(t, ζ)(t, ζ)ᵀ]
    cross = pull * (slopes @ cohort.linear[:, :, None]).mT
    square = mass * (pull * pull.mT + stiffness @ row.noise[..., None, :, :] @ stiffness.mT) - cross - cross.mT
    total.ff[..., i, i] += (square + slopes @ cohort.second @ slopes.mT).sum(axis=-3)

    # E[f g], from E[f (t, ζ)ᵀ], which is (*trials, b, 2)
    by_view = (pull * cohort.linear[:, None] - slopes @ cohort.second).sum(axis=-3)
    total.fg[..., i] += by_view @ row.g

    # Γ of (T3.17)
    mean_stiffness = (mass * stiffness).sum(axis=-3)
    total.gamma[..., i, i] += mean_stiffness
    if (k := cohort.selector) is not None:
        through_others = (mean_stiffness @ c[..., i, k, None])[..., 0]
        total.gamma[..., i, k] -= (by_view @ row.z_k + through_others) / c[..., k, k, None]


def _force_stiffness(weight: Array, x: Array, curvature: Array) -> Array:
    """B of (T3.16) for each class of weights (J,): (*trials, J, b, b). x (*trials, b, b) is X, curvature (b,) is H."""
    d = weight[:, None, None] * curvature  # the diagonals of D, as rows (J, 1, b)
    return d.mT * np.linalg.inv(np.eye(x.shape[-1]) + x[..., None, :, :] * d)
