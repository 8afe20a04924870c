"""Dynamical mean-field theory of the practice loop: its equations in the limit n, d → ∞ (ours).

If every stage trains on fresh rows, these are independent of their selector, and Theorem 1 applies with rho =
cos(πE_k). If the pool accumulates, ŵ_s has been fitted to rows that also trained ŵ_k, and ŵ_k chose more of ŵ_s's rows.
Treating those as an independent mixture is wrong at leading order. The method is that of Celentano, Cheng and Montanari
2021 ("The high-dimensional asymptotics of first order methods with random data"). In their words C and E[f fᵀ] below
are the correlation functions of estimates and residuals, X and -Γ their response functions. docs/theory/practice.md
derives the equations.

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
    (T3.10) C = Σ_e v_e² (M_e b)(M_e b)ᵀ - aaᵀ + (1/n) Σ_e M_e E[f fᵀ] M_eᵀ
    (T3.11) X = (1/n) Σ_e M_e
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

Shapes. S stages; b stages that train on a cohort; J classes of a cohort; `modes` eigenvalues. Leading axes `trials` are
values for the newest stage that are tried at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float


class OrderParameters(NamedTuple):
    """The order parameters a, C and X of S stages."""

    a: Float[np.ndarray, " stages"]
    c: Float[np.ndarray, "stages stages"]
    x: Float[np.ndarray, "stages stages"]

    @classmethod
    def of_no_stage(cls) -> OrderParameters:
        return cls(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))

    @property
    def stages(self) -> int:
        return len(self.a)

    def extended(self, newest: Newest) -> OrderParameters:
        return OrderParameters(
            np.append(self.a, newest.one), with_edge(self.c, newest.symmetric), with_row(self.x, newest.lower)
        )

    def cosine(self) -> float:
        return self.a[-1] / np.hypot(self.a[-1], np.sqrt(self.c[-1, -1]))


# -- the newest stage --------------------------------------------------------------------------------------------------


class Newest(NamedTuple):
    """What belongs to the newest stage s of a, C and X, or of E[f g], E[f fᵀ] and Γ: a number and two rows."""

    one: Float[np.ndarray, " *trials"]
    symmetric: Float[np.ndarray, "*trials stages"]  # of C, or of E[f fᵀ]
    lower: Float[np.ndarray, "*trials stages"]  # of X, or of Γ

    @classmethod
    def of(cls, vector: Float[np.ndarray, "*trials unknowns"]) -> Newest:
        stages = vector.shape[-1] // 2
        return cls(vector[..., 0], vector[..., 1 : stages + 1], vector[..., stages + 1 :])

    def vector(self) -> Float[np.ndarray, "*trials unknowns"]:
        return np.concatenate([self.one[..., None], self.symmetric, self.lower], axis=-1)


def with_edge(matrix: Float[np.ndarray, "*J s s"], row: Float[np.ndarray, "*J grown"]) -> Array:
    """A symmetric matrix with one more row and column."""
    grown = with_row(matrix, row)
    grown[..., -1] = row
    return grown


def with_row(matrix: Float[np.ndarray, "*J s s"], row: Float[np.ndarray, "*J grown"]) -> Array:
    """A lower triangular matrix with one more row."""
    grown = np.zeros((*row.shape[:-1], row.shape[-1], row.shape[-1]))
    grown[..., :-1, :-1] = matrix
    grown[..., -1, :] = row
    return grown


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

    view: Float[np.ndarray, "b 2"]
    noise: Float[np.ndarray, "b b"]  # covariance of the noise
    g: Float[np.ndarray, " 2"]
    z_k: Float[np.ndarray, " 2"]


def selected_row(selector: int | None, parameters: OrderParameters, stages: slice) -> SelectedRow:
    """Equations (T3.14) and (T3.15), for rows of this selector and for these stages."""
    a, c, _ = parameters
    own = a[stages, None]
    noise = c[stages, stages]
    if selector is None:
        return SelectedRow(own * np.array([1.0, 0.0]), noise, np.array([1.0, 0.0]), np.zeros(2))
    k = selector
    norm = np.hypot(a[k], np.sqrt(c[k, k]))
    rho = a[k] / norm
    r = np.sqrt(c[k, k]) / norm
    g = np.array([rho, r])
    z_k = norm * r * np.array([r, -rho])
    shared = c[stages, k, None] / c[k, k]
    return SelectedRow(own * g + shared * z_k, noise - shared * c[k, None, stages], g, z_k)
