"""Forces of rows on the stages of a loop under quadratic losses, kept from stage to stage.

Equations are those of dp_theory.practice.dmft. By (T3.4) the force on a new stage s with the loss H(m y - h)²/2 is

    f_s = β(m y - η_s - Σ_j X_sj f_j),   β = cH/(1 + cH X_ss),   j < s,

which is (T3.16) row by row. Given what the f_j on the stages before amount to (`CohortForces`), all means of f_s follow
by linear algebra, without an inverse (`NewestForces`, for many values of the newest stage's order parameters at once).
They are affine in these but for X_ss.

For rows that stage k selected, (T3.15) reads η_s = a_s g + C_sk z̄_k + noise, with z̄_k = z_k/C_kk. The noises of two
stages have the covariance C_sj - C_sk C_jk/C_kk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Newest, OrderParameters, selected_row, with_edge, with_row

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class QuadraticLoss:
    """The loss H(m y - h)²/2 with curvature H and target m."""

    curvature: float = 1.0
    target: float = 1.0

    def bend(self, weight: Array, response: Array | float) -> Array:
        return weight * self.curvature / (1 + response * weight * self.curvature)

    def answer(self, score: Array, y: Array, weight: Array, response: float) -> tuple[Array, Array]:
        """As `Loss.answer`: the force of a row, and β."""
        beta = self.bend(weight, response)
        return beta * (self.target * y - score), beta

    def mean_answer(
        self, score: Array, noise: float, y: Array, weight: Array, response: float
    ) -> tuple[Array, Array, Array]:
        force, beta = self.answer(score, y, weight, response)
        return force, force**2 + (beta * noise) ** 2, beta


@dataclass(frozen=True)
class CohortForces:
    """The rows of a round, and their forces on the b stages so far that train on them, for each of J classes.

    `g` and `z_bar` give the labeller's score and z_k/C_kk by (t, ζ); `selector_variance` is C_kk and `shared`
    C_jk/C_kk. For plain rows z_bar and shared are 0, and C_kk is 1. `slope` is B of (T3.16). `product`, `by_view` and
    `by_label` are sums over the rows of f fᵀ, f (t, ζ) and f y.
    """

    cohort: Cohort
    g: Float[np.ndarray, " 2"]
    z_bar: Float[np.ndarray, " 2"]
    selector_variance: float
    shared: Float[np.ndarray, " b"]
    slope: Float[np.ndarray, "J b b"]
    product: Float[np.ndarray, "J b b"]
    by_view: Float[np.ndarray, "J b 2"]
    by_label: Float[np.ndarray, "J b"]

    @classmethod
    def of(cls, cohort: Cohort, before: OrderParameters) -> CohortForces:
        """The rows of a new round, at the order parameters of the stages before."""
        row = selected_row(cohort.selector, before, slice(0, 0))
        k = cohort.selector
        variance = 1.0 if k is None else float(before.c[k, k])
        classes = len(cohort.mass)
        none = np.zeros((classes, 0, 0))
        return cls(
            cohort=cohort,
            g=row.g,
            z_bar=row.z_k / variance,
            selector_variance=variance,
            shared=np.zeros(0),
            slope=none,
            product=none,
            by_view=np.zeros((classes, 0, 2)),
            by_label=np.zeros((classes, 0)),
        )

    @property
    def stages(self) -> slice:
        return slice(self.cohort.first, self.cohort.first + len(self.shared))


class NewestForces(NamedTuple):
    """The forces of a cohort's rows on the newest stage s: fields as in `CohortForces`.

    `slope` and `product` are the newest rows of the matrices, diagonals included, and `shared` is one number.
    """

    shared: Float[np.ndarray, " *trials"]
    slope: Float[np.ndarray, "*trials J grown"]
    product: Float[np.ndarray, "*trials J grown"]
    by_view: Float[np.ndarray, "*trials J 2"]
    by_label: Float[np.ndarray, "*trials J"]

    @classmethod
    def of(cls, rows: CohortForces, newest: Newest, loss: QuadraticLoss) -> NewestForces:
        """Those at these order parameters of the newest stage, which has this loss."""
        cohort = rows.cohort
        mass = cohort.mass
        a, c, x = newest
        beta = loss.bend(cohort.weight, x[..., -1:])
        pull = x[..., rows.stages]
        covariance = np.zeros_like(a) if cohort.selector is None else c[..., cohort.selector]
        shared = covariance / rows.selector_variance
        view = a[..., None] * rows.g + covariance[..., None] * rows.z_bar
        noise = c[..., rows.stages] - covariance[..., None] * rows.shared  # covariances with the noises of the others
        by_noise = mass[:, None] * _applied(rows.slope, noise)  # -E[f_j noise_s]

        by_view = loss.target * cohort.linear - _applied(cohort.second, view) - _applied(rows.by_view.mT, pull)
        by_label = beta * (loss.target * mass - view @ cohort.linear.T - pull @ rows.by_label.T)
        product = loss.target * rows.by_label - _applied(rows.by_view, view) + by_noise - _applied(rows.product, pull)
        by_view = beta[..., None] * by_view
        product = beta[..., None] * product
        own_noise = mass * (c[..., -1] - covariance * shared)[..., None] - _inner(by_noise, pull)
        square = loss.target * by_label - _inner(by_view, view) + beta * own_noise - _inner(product, pull)
        slope = -beta[..., None] * _applied(rows.slope.mT, pull)
        return cls(
            shared,
            np.concatenate([slope, beta[..., None]], axis=-1),
            np.concatenate([product, (beta * square)[..., None]], axis=-1),
            by_view,
            by_label,
        )

    def add_to(self, total: Newest, rows: CohortForces) -> None:
        """Add what they contribute to E[f_s g], E[f_s fᵀ] and Γ_s· over all cohorts, in place."""
        first = rows.cohort.first
        slope = (rows.cohort.mass[:, None] * self.slope).sum(axis=-2)
        by_view = self.by_view.sum(axis=-2)
        total.one[...] += by_view @ rows.g
        total.symmetric[..., first:] += self.product.sum(axis=-2)
        total.lower[..., first:] += slope
        if (k := rows.cohort.selector) is not None:  # (T3.17)
            through_others = slope[..., :-1] @ rows.shared + slope[..., -1] * self.shared
            total.lower[..., k] -= by_view @ rows.z_bar + through_others

    def joined(self, rows: CohortForces) -> CohortForces:
        return replace(
            rows,
            shared=np.append(rows.shared, self.shared),
            slope=with_row(rows.slope, self.slope),
            product=with_edge(rows.product, self.product),
            by_view=np.concatenate([rows.by_view, self.by_view[:, None]], axis=1),
            by_label=np.concatenate([rows.by_label, self.by_label[:, None]], axis=1),
        )


def newest_forces(
    cohorts: Sequence[CohortForces], newest: Newest, loss: QuadraticLoss
) -> tuple[list[NewestForces | None], Newest]:
    """The forces of each cohort on the newest stage, if it trains on it, and E[f_s g], E[f_s fᵀ] and Γ_s· of all."""
    total = Newest(*(np.zeros(part.shape) for part in newest))
    stage = newest.lower.shape[-1] - 1
    each = [NewestForces.of(rows, newest, loss) if rows.cohort.trains(stage) else None for rows in cohorts]
    for rows, forces in zip(cohorts, each, strict=True):
        if forces is not None:
            forces.add_to(total, rows)
    return each, total


def _applied(
    matrices: Float[np.ndarray, "J m n"], vectors: Float[np.ndarray, "*trials n"]
) -> Float[np.ndarray, "*trials J m"]:
    """The matrices times the vectors as one product of matrices, which is faster for few classes."""
    classes, m, n = matrices.shape
    return (vectors @ matrices.reshape(classes * m, n).T).reshape(*vectors.shape[:-1], classes, m)


def _inner(
    one: Float[np.ndarray, "*trials J n"], other: Float[np.ndarray, "*trials n"]
) -> Float[np.ndarray, "*trials J"]:
    return (one * other[..., None, :]).sum(axis=-1)
