"""Forces of rows on the stages of a loop with the square loss, kept from stage to stage.

Equations are those of docs/theory/practice.md, and of dp_theory.practice.dmft. By (T3.4) the force on a new stage s is

    f_s = β(y - η_s - Σ_j X_sj f_j),   β = c/(1 + c X_ss),   j < s,

which is (T3.16) row by row. Given what the f_j on the stages before amount to, all means of f_s follow by linear
algebra, without an inverse. `CohortForces` keeps the former, `NewestForces` has the latter at given order parameters,
and `AffineForces` has them as functions of those that are to be found.

For rows that stage k selected, (T3.15) reads η_s = a_s g + C_sk z̄_k + noise, with z̄_k = z_k/C_kk. The noises of two
stages have the covariance C_sj - C_sk C_jk/C_kk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Forces, OrderParameters, selected_row

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class CohortForces:
    """The rows of a round, and their forces on the b stages so far that train on them, for each of J classes.

    Attributes
    ----------
    cohort
        The rows.
    g, z_bar
        The labeller's score and z_k/C_kk, by (t, ζ) of a row. The latter is 0 for plain rows.
    selector_variance
        C_kk. It is 1 for plain rows.
    shared
        C_jk/C_kk of each stage j. It is 0 for plain rows.
    slope
        B of (T3.16).
    product, by_view, by_label
        Sums over the rows of f fᵀ, f (t, ζ) and f y.
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
        """The rows of a new round, which no stage has trained on, at the order parameters of the stages before."""
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
        """The stages so far that train on the rows."""
        return slice(self.cohort.first, self.cohort.first + len(self.shared))

    def answer(self, response: float) -> Float[np.ndarray, " J"]:
        """β of each class on a stage with this X_ss."""
        return self.cohort.weight / (1 + response * self.cohort.weight)


class NewestForces(NamedTuple):
    """The forces of a cohort's rows on the newest stage s, for each of J classes. The fields are as in `CohortForces`.

    `slope` and `product` are the newest rows of the matrices, their diagonals included, and `shared` is one number.
    """

    shared: float
    slope: Float[np.ndarray, "J grown"]
    product: Float[np.ndarray, "J grown"]
    by_view: Float[np.ndarray, "J 2"]
    by_label: Float[np.ndarray, " J"]

    @classmethod
    def of(cls, rows: CohortForces, parameters: OrderParameters) -> NewestForces:
        """Those at order parameters that include the ones of the newest stage."""
        a, c, x = parameters
        cohort = rows.cohort
        k = cohort.selector
        others = rows.stages
        beta = rows.answer(x[-1, -1])
        pull = x[-1, others]
        covariance = 0.0 if k is None else float(c[-1, k])
        shared = covariance / rows.selector_variance
        view = a[-1] * rows.g + covariance * rows.z_bar
        noise = c[-1, others] - covariance * rows.shared  # its covariances with the noises of the stages before
        by_noise = cohort.mass[:, None] * (rows.slope @ noise)  # -E[f_j noise_s]

        by_view = beta[:, None] * (cohort.linear - cohort.second @ view - pull @ rows.by_view)
        by_label = beta * (cohort.mass - cohort.linear @ view - rows.by_label @ pull)
        product = beta[:, None] * (rows.by_label - rows.by_view @ view + by_noise - pull @ rows.product)
        own_noise = beta * (cohort.mass * (c[-1, -1] - covariance * shared) - by_noise @ pull)
        square = beta * (by_label - by_view @ view + own_noise - product @ pull)
        slope = -beta[:, None] * (pull @ rows.slope)
        return cls(
            shared,
            np.concatenate([slope, beta[:, None]], axis=1),
            np.concatenate([product, square[:, None]], axis=1),
            by_view,
            by_label,
        )

    def add_to(self, total: Forces, rows: CohortForces, parameters: OrderParameters) -> None:
        """Add what they contribute to the newest rows of the sums over all cohorts, in place."""
        i = slice(rows.cohort.first, parameters.stages)
        slope = rows.cohort.mass @ self.slope
        by_view = self.by_view.sum(axis=0)
        total.ff[-1, i] += self.product.sum(axis=0)
        total.fg[-1] += by_view @ rows.g
        total.gamma[-1, i] += slope
        if (k := rows.cohort.selector) is not None:  # (T3.17)
            total.gamma[-1, k] -= by_view @ rows.z_bar + slope @ np.append(rows.shared, self.shared)

    def joined(self, rows: CohortForces) -> CohortForces:
        """The forces of the rows on all stages, the newest included."""
        grown = len(rows.shared) + 1
        slope = np.zeros((len(self.slope), grown, grown))
        product = np.empty_like(slope)
        slope[:, :-1, :-1] = rows.slope
        slope[:, -1] = self.slope
        product[:, :-1, :-1] = rows.product
        product[:, -1] = product[:, :, -1] = self.product
        return replace(
            rows,
            shared=np.append(rows.shared, self.shared),
            slope=slope,
            product=product,
            by_view=np.concatenate([rows.by_view, self.by_view[:, None]], axis=1),
            by_label=np.concatenate([rows.by_label, self.by_label[:, None]], axis=1),
        )


class AffineForces(NamedTuple):
    """The newest stage's means over all cohorts, affine in its unknowns a_s, C_s0 … C_s,s-1 and X_s0 … X_s,s-1.

    The last axis of an array has a constant, and then the factors of the unknowns.

    Attributes
    ----------
    fg, gamma, ff
        E[f_s g], and Γ_sj and E[f_s f_j] of the stages j < s.
    own_gamma
        Γ_ss.
    own_square
        The factor of C_ss in E[f_s²].
    """

    fg: Float[np.ndarray, " terms"]
    gamma: Float[np.ndarray, "s terms"]
    ff: Float[np.ndarray, "s terms"]
    own_gamma: float
    own_square: float

    @classmethod
    def of(cls, cohorts: Sequence[CohortForces], stage: int, response: float) -> AffineForces:
        """Those of a stage with this X_ss, where rows of `cohorts` train on it that may have trained others."""
        size = 2 + 2 * stage
        fg = np.zeros(size)
        gamma = np.zeros((stage, size))
        ff = np.zeros((stage, size))
        own_gamma = 0.0
        own_square = 0.0
        for rows in cohorts:
            if rows.cohort.trains(stage):
                beta = rows.answer(response)
                own_gamma += float(rows.cohort.mass @ beta)
                own_square += float(rows.cohort.mass @ beta**2)
                _add_affine(fg, gamma, ff, rows, beta)
        return cls(fg, gamma, ff, own_gamma, own_square)


def _add_affine(
    fg: Float[np.ndarray, " terms"],
    gamma: Float[np.ndarray, "s terms"],
    ff: Float[np.ndarray, "s terms"],
    rows: CohortForces,
    beta: Float[np.ndarray, " J"],
) -> None:
    """Add what one cohort contributes to the fields of `AffineForces`, in place."""
    cohort = rows.cohort
    others = rows.stages
    in_c = slice(2 + others.start, 2 + others.stop)  # the places of C_sj and X_sj
    in_x = slice(2 + len(gamma) + others.start, 2 + len(gamma) + others.stop)
    linear = beta @ cohort.linear
    second = _total(beta, cohort.second)
    by_view = _total(beta, rows.by_view)
    slope = _total(beta * cohort.mass, rows.slope)

    fg[0] += rows.g @ linear
    fg[1] -= rows.g @ second @ rows.g
    fg[in_x] -= by_view @ rows.g
    gamma[others, in_x] -= slope.T
    ff[others, 0] += beta @ rows.by_label
    ff[others, 1] -= by_view @ rows.g
    ff[others, in_c] += slope
    ff[others, in_x] -= _total(beta, rows.product)
    if (k := cohort.selector) is not None:
        across = rows.z_bar @ second @ rows.g
        through = by_view @ rows.z_bar + slope @ rows.shared
        shared_by_all = cohort.mass @ beta / rows.selector_variance
        fg[2 + k] -= across
        gamma[k, 0] -= linear @ rows.z_bar
        gamma[k, 1] += across
        gamma[k, 2 + k] += rows.z_bar @ second @ rows.z_bar - shared_by_all
        gamma[k, in_x] += through
        ff[others, 2 + k] -= through


def _total(
    weights: Float[np.ndarray, " J"], of_classes: Float[np.ndarray, "J rows columns"]
) -> Float[np.ndarray, "rows columns"]:
    """The weighted sum over classes. It is a product of matrices, which is faster than np.tensordot for few classes."""
    return (weights @ of_classes.reshape(len(weights), -1)).reshape(of_classes.shape[1:])
