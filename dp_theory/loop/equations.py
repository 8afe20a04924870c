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
from typing import NamedTuple

import numpy as np

from dp_theory.loop.placed import Cohort
from dp_theory.numerics.checks import Array, Float


class OrderParameters(NamedTuple):
    """a, C and X of S stages."""

    a: Float[Array, "stages k"]
    c: Float[Array, "stages stages"]
    x: Float[Array, "stages stages"]

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


def with_edge(matrix: Float[Array, "*#J s s"], row: Float[Array, "*#J grown"]) -> Array:
    """A symmetric matrix with one more row and column."""
    grown = with_row(matrix, row)
    grown[..., -1] = row
    return grown


def with_row(matrix: Float[Array, "*#J s s"], row: Float[Array, "*#J grown"]) -> Array:
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

    `scale` is √C_kk of the selector, and `shared` C_jk/√C_kk; 1 and 0 without one. The others are sums over rows: of
    the slopes B of (T3.16), of f fᵀ, f x and f y.
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

    def grown(self, newest: Newest, loss: QuadraticLoss) -> CohortForces:
        """With the forces on the newest stage."""
        mass, linear, *_ = sums = self._sums()
        beta = loss.bend(self.cohort.kept.weight, newest.lower[-1])
        seen = self._seen(newest)
        by_view, product, slope = (beta[:, None] * part for part in _affine(sums, seen, loss.target))
        by_label = beta * (loss.target * mass - linear @ seen.view - self.by_label @ seen.pull)
        variance = mass * (newest.symmetric[-1] - seen.shared**2) - (self.slope @ seen.noise) @ seen.pull
        square = loss.target * by_label - by_view @ seen.view + beta * variance - product @ seen.pull
        return replace(
            self,
            shared=np.append(self.shared, seen.shared),
            slope=with_row(self.slope, np.column_stack([slope, beta * mass])),
            product=with_edge(self.product, np.column_stack([product, beta * square])),
            by_view=np.concatenate([self.by_view, by_view[:, None]], axis=1),
            by_label=np.column_stack([self.by_label, by_label]),
        )

    def add_affine(self, total: Newest, newest: Newest, loss: QuadraticLoss) -> None:
        """Add the means of forces, but E[f_s²], at several points of one response."""
        beta = loss.bend(self.cohort.kept.weight, newest.lower[0, -1])
        sums = [np.tensordot(beta, part, 1) for part in self._sums()]
        seen = self._seen(newest)
        by_view, product, slope = _affine(sums, seen, loss.target)
        points = len(slope)
        shared = np.column_stack([np.broadcast_to(self.shared, slope.shape), seen.shared])
        slope = np.column_stack([slope, np.full(points, sums[0])])
        add_means(total, self.cohort, self.scale, shared, np.column_stack([product, np.zeros(points)]), slope, by_view)

    def _sums(self) -> Sequence[Array]:
        kept = self.cohort.kept
        return kept.mass, kept.linear, kept.second, self.slope, self.product, self.by_view, self.by_label

    def _seen(self, newest: Newest) -> _NewestScore:
        a, c, x = newest
        stages = slice(self.cohort.first, self.cohort.first + len(self.shared))
        k = self.cohort.selector
        shared = np.zeros(c.shape[:-1]) if k is None else c[..., k] / self.scale
        view = a if k is None else np.append(a, shared[..., None], axis=-1)
        return _NewestScore(
            shared,
            view @ self.cohort.kept.frame,
            c[..., stages] - shared[..., None] * self.shared,
            x[..., stages],
        )


class _NewestScore(NamedTuple):
    """η_s = view·x + noise, of which `noise` are the covariances with the others' noises, and h_s = η_s + pull·f."""

    shared: Float[Array, "*trials"]
    view: Float[Array, "*trials K"]
    noise: Float[Array, "*trials b"]
    pull: Float[Array, "*trials b"]


def _affine(sums: Sequence[Array], seen: _NewestScore, target: float) -> tuple[Array, Array, Array]:
    """E[f_s x], E[f_s f_j] for j < s and -E[df_s/dη_j], over the bend of the newest stage."""
    _, linear, second, slope, product, by_view, by_label = sums
    _, view, noise, pull = seen
    return (
        target * linear - view @ second - pull @ by_view,
        target * by_label - view @ by_view.swapaxes(-1, -2) + noise @ slope.swapaxes(-1, -2) - pull @ product,
        -pull @ slope,
    )


def add_means(
    total: Newest, cohort: Cohort, scale: float, shared: Array, product: Array, slope: Array, by_view: Array
) -> None:
    """Add a cohort's sums to E[f_s g], E[f_s fᵀ] and Γ_s·, in place."""
    by_view = by_view @ cohort.kept.frame.T
    total.one[:] += by_view[..., : total.one.shape[-1]]
    total.symmetric[..., cohort.first :] += product
    total.lower[..., cohort.first :] += slope
    if cohort.selector is not None:  # (T3.17)
        total.lower[..., cohort.selector] -= (by_view[..., -1] + (slope * shared).sum(-1)) / scale


def newest_forces(
    cohorts: Sequence[CohortForces], newest: Newest, loss: QuadraticLoss
) -> tuple[list[CohortForces], Newest]:
    """The cohorts with their forces on the newest stage, and the means of these."""
    total = Newest(*map(np.zeros_like, newest))
    found = []
    for rows in cohorts:
        if rows.cohort.trains(len(newest.lower) - 1):
            rows = rows.grown(newest, loss)
            product, slope, by_view = (part[:, -1].sum(0) for part in (rows.product, rows.slope, rows.by_view))
            add_means(total, rows.cohort, rows.scale, rows.shared, product, slope, by_view)
        found.append(rows)
    return found, total
