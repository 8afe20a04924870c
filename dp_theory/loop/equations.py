"""The equations of learners in the limit n, d → ∞, stage by stage, with forces of rows under quadratic losses (ours).

docs/theory/practice.md derives (T3.1) to (T3.17), docs/theory/span.md those of one stage; the method is that of
Celentano, Cheng and Montanari 2021. In the code, for stages s, j and a basis U of the fixed directions:

    a_s   alignment Uᵀθ_s
    C_sj  covariance θ_s·θ_j off U
    X_sj  response: by how much a row's score h_s moves per unit of its force f_j; lower triangular
    Γ_sj  -E[df_s/dη_j], including that the selector's η_j decides which rows are kept
    x     a row's coordinates: (g, z_k/√C_kk) if stage k chose it, else g = Uᵀz

E sums over cohorts, in units of n. Where Σ = I one mode for each fixed direction stands for all d. All means are affine
in the newest stage's order parameters but for X_ss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.loop.placed import Cohort
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float


class OrderParameters(NamedTuple):
    """a, C and X of S stages."""

    a: Float[Array, "stages k"]
    c: Float[Array, "stages stages"]
    x: Float[Array, "stages stages"]

    @classmethod
    def of_no_stage(cls, directions: int) -> OrderParameters:
        return cls(np.zeros((0, directions)), np.zeros((0, 0)), np.zeros((0, 0)))

    @property
    def stages(self) -> int:
        return len(self.a)

    def extended(self, newest: Newest) -> OrderParameters:
        return OrderParameters(
            np.vstack([self.a, newest.one]), with_edge(self.c, newest.symmetric), with_row(self.x, newest.lower)
        )

    def norms(self) -> Float[Array, " stages"]:
        return np.hypot(np.linalg.norm(self.a, axis=1), np.sqrt(np.diag(self.c)))

    def selector(self) -> Float[Array, " coordinates"]:
        """The newest learner's direction in the coordinates of the rows that it chooses."""
        view = np.append(self.a[-1], np.sqrt(self.c[-1, -1]))
        return view / np.linalg.norm(view)


class Newest(NamedTuple):
    """The row of the newest stage s in a, C and X, or in E[f gᵀ], E[f fᵀ] and Γ. Leading axes `trials` are several at
    once.
    """

    one: Float[Array, "*trials k"]
    symmetric: Float[Array, "*trials stages"]  # of C, or of E[f fᵀ]
    lower: Float[Array, "*trials stages"]  # of X, or of Γ

    @classmethod
    def of(cls, vector: Float[Array, "*trials unknowns"], stages: int) -> Newest:
        return cls(vector[..., : -2 * stages], vector[..., -2 * stages : -stages], vector[..., -stages:])

    def vector(self) -> Float[Array, "*trials unknowns"]:
        return np.concatenate(self, axis=-1)


def with_edge(matrix: Float[Array, "*J s s"], row: Float[Array, "*J grown"]) -> Array:
    """A symmetric matrix with one more row and column."""
    grown = with_row(matrix, row)
    grown[..., -1] = row
    return grown


def with_row(matrix: Float[Array, "*J s s"], row: Float[Array, "*J grown"]) -> Array:
    """A lower triangular matrix with one more row."""
    grown = np.zeros((*row.shape[:-1], row.shape[-1], row.shape[-1]))
    grown[..., :-1, :-1] = matrix
    grown[..., -1, :] = row
    return grown


class RowView(NamedTuple):
    """How the scores of b stages depend on a row's coordinates: η = view·x + noise (T3.15)."""

    view: Float[Array, "b K"]
    noise: Float[Array, "b b"]  # its covariance

    @classmethod
    def of(cls, selector: int | None, parameters: OrderParameters, stages: slice) -> RowView:
        a, c, _ = parameters
        if selector is None:
            return cls(a[stages], c[stages, stages])
        by_selector = c[stages, selector]
        variance = c[selector, selector]
        noise = c[stages, stages] - by_selector[:, None] / variance * by_selector  # 0 for the selector itself
        return cls(np.column_stack([a[stages], by_selector / np.sqrt(variance)]), noise)


# -- forces under quadratic losses ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuadraticLoss:
    """The loss H(m y - h)²/2 with curvature H and target m. Infinite curvature interpolates: h = m y."""

    curvature: float = 1.0
    target: float = 1.0

    def bend(self, weight: Array, response: float) -> Array:
        if np.isinf(self.curvature):
            return np.full_like(weight, 1 / response)
        return weight * self.curvature / (1 + response * weight * self.curvature)

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        beta = self.bend(weight, response)
        return beta * (self.target * y - score), beta

    def mean_answer(
        self, score: Array, noise: float, y: Array, weight: Array, response: float
    ) -> tuple[Array, Array, Array]:
        force, beta = self.answer(score, y, weight, response)
        return force, force**2 + (beta * noise) ** 2, beta


@dataclass(frozen=True)
class CohortForces:
    """A cohort's forces on the b stages so far that train on it, for each of J classes.

    `scale` is √C_kk of the selector, and `shared` C_jk/√C_kk; 1 and 0 without one. `slope` is B of (T3.16). `product`,
    `by_view` and `by_label` are sums of f fᵀ, f x and f y.
    """

    cohort: Cohort
    scale: float
    shared: Float[Array, " b"]
    slope: Float[Array, "J b b"]
    product: Float[Array, "J b b"]
    by_view: Float[Array, "J b K"]
    by_label: Float[Array, "J b"]

    @classmethod
    def of(cls, cohort: Cohort, before: OrderParameters) -> CohortForces:
        k = cohort.selector
        classes, size = cohort.kept.linear.shape
        none = np.zeros((classes, 0, 0))
        scale = 1.0 if k is None else float(np.sqrt(before.c[k, k]))
        return cls(cohort, scale, np.zeros(0), none, none, np.zeros((classes, 0, size)), np.zeros((classes, 0)))

    @property
    def stages(self) -> slice:
        return slice(self.cohort.first, self.cohort.first + len(self.shared))

    def _shared(self, newest: Newest) -> float:
        k = self.cohort.selector
        return 0.0 if k is None else float(newest.symmetric[k]) / self.scale

    def newest(self, newest: Newest, loss: QuadraticLoss) -> NewestForces:
        kept = self.cohort.kept
        a, c, x = newest
        m = loss.target
        beta = loss.bend(kept.weight, x[-1])
        pull = x[self.stages]
        shared = self._shared(newest)
        view = (a if self.cohort.selector is None else np.append(a, shared)) @ kept.frame
        noise = c[self.stages] - shared * self.shared  # covariances with the noises of the others
        by_noise = kept.mass[:, None] * (self.slope @ noise)  # -E[f_j noise_s]

        by_view = beta[:, None] * (m * kept.linear - kept.second @ view - pull @ self.by_view)
        by_label = beta * (m * kept.mass - kept.linear @ view - self.by_label @ pull)
        product = m * self.by_label - self.by_view @ view + by_noise - self.product @ pull
        product = beta[:, None] * product
        own_noise = kept.mass * (c[-1] - shared * shared) - by_noise @ pull
        square = m * by_label - by_view @ view + beta * own_noise - product @ pull
        slope = -beta[:, None] * (pull @ self.slope)
        return NewestForces(
            shared,
            np.concatenate([slope, beta[:, None]], axis=1),
            np.concatenate([product, (beta * square)[:, None]], axis=1),
            by_view,
            by_label,
        )

    def add_affine(self, constant: Newest, matrix: Newest, response: float, loss: QuadraticLoss) -> None:
        kept = self.cohort.kept
        beta = loss.bend(kept.weight, response)
        linear = loss.target * kept.frame @ (beta @ kept.linear)
        second = kept.frame @ _summed(beta, kept.second) @ kept.frame.T
        by_view = _summed(beta, self.by_view) @ kept.frame.T
        slope = _summed(beta * kept.mass, self.slope)
        k = constant.one.shape[-1]
        stages = constant.lower.shape[-1]
        i = self.stages
        c_rows = slice(k + i.start, k + i.stop)
        x_rows = slice(k + stages + i.start, k + stages + i.stop)

        constant.one[:] += linear[:k]
        matrix.one[:k] -= second[:k, :k]
        matrix.one[x_rows] -= by_view[:, :k]
        constant.symmetric[i] += loss.target * (beta @ self.by_label)
        matrix.symmetric[:k, i] -= by_view[:, :k].T
        matrix.symmetric[c_rows, i] += slope.T
        matrix.symmetric[x_rows, i] -= _summed(beta, self.product)
        total = beta @ kept.mass
        constant.lower[-1] += total
        matrix.lower[x_rows, i] -= slope
        if (selector := self.cohort.selector) is not None:
            by_selector = slice(k + selector, k + selector + 1)
            matrix.one[by_selector] -= second[k, :k] / self.scale
            matrix.symmetric[by_selector, i] -= (by_view[:, k] + slope @ self.shared) / self.scale
            constant.lower[selector] -= linear[k] / self.scale
            matrix.lower[:k, selector] += second[k, :k] / self.scale
            matrix.lower[by_selector, selector] += (second[k, k] - total) / self.scale**2
            matrix.lower[x_rows, selector] += (by_view[:, k] + slope @ self.shared) / self.scale

    def joined(self, newest: NewestForces) -> CohortForces:
        return replace(
            self,
            shared=np.append(self.shared, newest.shared),
            slope=with_row(self.slope, newest.slope),
            product=with_edge(self.product, newest.product),
            by_view=np.concatenate([self.by_view, newest.by_view[:, None]], axis=1),
            by_label=np.concatenate([self.by_label, newest.by_label[:, None]], axis=1),
        )


def _summed(weights: Array, matrices: Array) -> Array:
    return (weights @ matrices.reshape(len(weights), -1)).reshape(matrices.shape[1:])


class NewestForces(NamedTuple):
    """A cohort's forces on the newest stage: of the matrices of `CohortForces` the last row."""

    shared: float
    slope: Float[Array, "J grown"]
    product: Float[Array, "J grown"]
    by_view: Float[Array, "J K"]
    by_label: Float[Array, " J"]

    def add_to(self, total: Newest, rows: CohortForces) -> None:
        slope = rows.cohort.mass @ self.slope
        shared = np.append(rows.shared, self.shared)
        add_means(total, rows.cohort, rows.scale, shared, self.product.sum(0), slope, self.by_view.sum(0))


def add_means(
    total: Newest, cohort: Cohort, scale: float, shared: Array, product: Array, slope: Array, by_view: Array
) -> None:
    """Add a cohort's sums to E[f_s g], E[f_s fᵀ] and Γ_s·, in place."""
    by_view = cohort.kept.frame @ by_view
    total.one[:] += by_view[: len(total.one)]
    total.symmetric[cohort.first :] += product
    total.lower[cohort.first :] += slope
    if cohort.selector is not None:  # (T3.17)
        total.lower[cohort.selector] -= (by_view[-1] + slope @ shared) / scale


def newest_forces(
    cohorts: Sequence[CohortForces], newest: Newest, loss: QuadraticLoss
) -> tuple[list[NewestForces | None], Newest]:
    """The forces of each cohort on the newest stage, and the means of all."""
    total = Newest(*(np.zeros(part.shape) for part in newest))
    stage = len(newest.lower) - 1
    each = [rows.newest(newest, loss) if rows.cohort.trains(stage) else None for rows in cohorts]
    for rows, forces in zip(cohorts, each, strict=True):
        if forces is not None:
            forces.add_to(total, rows)
    return each, total
