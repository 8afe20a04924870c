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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dp_theory.loop.losses import Loss, QuadraticLoss
from dp_theory.loop.placed import Cohort
from dp_theory.loop.points import Points
from dp_theory.numerics.checks import Array, Float


class OrderParameters(NamedTuple):
    """a, C and X of S stages."""

    a: Float[Array, "stages k"]
    c: Float[Array, "stages stages"]
    x: Float[Array, "stages stages"]

    @property
    def stages(self) -> int:
        return len(self.a)

    def extended(self, newest: "Newest") -> "OrderParameters":
        return OrderParameters(
            np.vstack([self.a, newest.one]), with_edge(self.c, newest.symmetric), with_row(self.x, newest.lower)
        )

    def norms(self) -> Float[Array, " stages"]:
        return np.hypot(np.linalg.norm(self.a, axis=1), np.sqrt(np.diag(self.c)))

    def selector(self, stage: int = -1) -> Float[Array, " coordinates"]:
        """A learner's direction in the coordinates of the rows that it chooses, by default the newest's."""
        view = np.append(self.a[stage], np.sqrt(self.c[stage, stage]))
        return view / np.linalg.norm(view)


class Newest(NamedTuple):
    """The row of the newest stage s in a, C and X, or in E[f gᵀ], E[f fᵀ] and Γ. Leading axes `trials` are several at
    once.
    """

    one: Float[Array, "*trials k"]
    symmetric: Float[Array, "*trials stages"]  # of C, or of E[f fᵀ]
    lower: Float[Array, "*trials stages"]  # of X, or of Γ

    @classmethod
    def of(cls, vector: Float[Array, "*trials unknowns"], stages: int) -> "Newest":
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
    def of(cls, selector: int | None, parameters: OrderParameters, stages: slice) -> "RowView":
        a, c, _ = parameters
        if selector is None:
            return cls(a[stages], c[stages, stages])
        by_selector = c[stages, selector]
        variance = c[selector, selector]
        noise = c[stages, stages] - by_selector[:, None] / variance * by_selector  # 0 for the selector itself
        return cls(np.column_stack([a[stages], by_selector / np.sqrt(variance)]), noise)


# -- forces under quadratic losses ------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """Sums over a cohort's rows, for each of J classes: of 1, y x and x xᵀ in the cohort's frame, and at the b stages
    so far that train on it of the slopes B of (T3.16), f fᵀ, f x and f y.
    """

    mass: Float[Array, "*J"]
    linear: Float[Array, "*J K"]
    second: Float[Array, "*J K K"]
    slope: Float[Array, "*J b b"]
    product: Float[Array, "*J b b"]
    by_view: Float[Array, "*J b K"]
    by_label: Float[Array, "*J b"]


@dataclass(frozen=True)
class CohortForces:
    """A cohort's forces on the stages so far that train on it.

    `scale` is √C_kk of the selector, and `shared` C_jk/√C_kk; 1 and 0 without one. `sampled` are the forces on points,
    under the loss and under its control.
    """

    cohort: Cohort
    scale: float
    shared: Float[Array, " b"]
    sums: Sums
    sampled: "tuple[RowForces, ...]" = ()

    @classmethod
    def of(cls, cohort: Cohort, before: OrderParameters, points: Points | None = None) -> "CohortForces":
        k, kept = cohort.selector, cohort.kept
        classes, size = kept.linear.shape
        none = (np.zeros((classes, 0, *wide)) for wide in ((0,), (0,), (size,), ()))
        sums = Sums(kept.mass, kept.linear, kept.second, *none)
        scale = 1.0 if k is None else float(np.sqrt(before.c[k, k]))
        sampled = () if points is None else (RowForces.of(points, points.y), RowForces.of(points, points.weight))
        return cls(cohort, scale, np.zeros(0), sums, sampled)

    def grown(self, newest: Newest, loss: QuadraticLoss) -> "CohortForces":
        """With the forces on the newest stage."""
        sums = self.sums
        beta = loss.bend(self.cohort.kept.weight, newest.lower[-1])
        seen = self._seen(newest)
        by_view, product, slope = (beta[:, None] * part for part in seen.affine(sums, loss.target))
        by_label = beta * (loss.target * sums.mass - sums.linear @ seen.view - sums.by_label @ seen.pull)
        variance = sums.mass * (newest.symmetric[-1] - seen.shared**2) - (sums.slope @ seen.noise) @ seen.pull
        square = loss.target * by_label - by_view @ seen.view + beta * variance - product @ seen.pull
        return replace(
            self,
            shared=np.append(self.shared, seen.shared),
            sums=sums._replace(
                slope=with_row(sums.slope, np.column_stack([slope, beta * sums.mass])),
                product=with_edge(sums.product, np.column_stack([product, beta * square])),
                by_view=np.concatenate([sums.by_view, by_view[:, None]], axis=1),
                by_label=np.column_stack([sums.by_label, by_label]),
            ),
        )

    def add_affine(self, total: Newest, newest: Newest, loss: QuadraticLoss) -> None:
        """Add the means of forces, but E[f_s²], at several points of one response."""
        beta = loss.bend(self.cohort.kept.weight, newest.lower[0, -1])
        sums = Sums(*(np.tensordot(beta, part, 1) for part in self.sums))
        seen = self._seen(newest)
        by_view, product, slope = seen.affine(sums, loss.target)
        shared = np.column_stack([np.broadcast_to(self.shared, slope.shape), seen.shared])
        own = np.zeros(len(slope))
        self.add(total, shared, np.column_stack([product, own]), np.column_stack([slope, own + sums.mass]), by_view)

    def _seen(self, newest: Newest) -> "_NewestScore":
        a, c, x = newest
        k, stages = self.cohort.selector, slice(self.cohort.first, -1)
        shared = np.zeros(c.shape[:-1]) if k is None else c[..., k] / self.scale
        view = a if k is None else np.append(a, shared[..., None], axis=-1)
        noise = c[..., stages] - shared[..., None] * self.shared
        return _NewestScore(shared, view @ self.cohort.kept.frame, noise, x[..., stages])

    def add(self, total: Newest, shared: Array, product: Array, slope: Array, by_view: Array) -> None:
        """Add sums over rows to E[f_s g], E[f_s fᵀ] and Γ_s·, in place."""
        by_view = by_view @ self.cohort.kept.frame.T
        total.one[:] += by_view[..., : total.one.shape[-1]]
        total.symmetric[..., self.cohort.first :] += product
        total.lower[..., self.cohort.first :] += slope
        if self.cohort.selector is not None:  # (T3.17)
            total.lower[..., self.cohort.selector] -= (by_view[..., -1] + (slope * shared).sum(-1)) / self.scale

    # -- on points ----------------------------------------------------------------------------------------------------

    def on_first(self, size: int) -> "CohortForces":
        """With the first points alone."""
        return replace(self, sampled=tuple(rows.first(size) for rows in self.sampled))

    def correct(self, total: Newest, parameters: OrderParameters, losses: "Losses") -> None:
        """Add the sum over points in (T4.8), in place; these have the forces of earlier stages."""
        smooth = losses[0].smooth
        means = (rows.means(loss, parameters, smooth) for rows, loss in zip(self.sampled, losses, strict=True))
        self.add(total, self.shared, *map(np.subtract, *means))

    def on_points(self, parameters: OrderParameters, losses: "Losses") -> "CohortForces":
        """With the points' forces on the newest stage."""
        pairs = zip(self.sampled, losses, strict=True)
        return replace(self, sampled=tuple(rows.grown(loss, parameters) for rows, loss in pairs))


class _NewestScore(NamedTuple):
    """η_s = view·x + noise, of which `noise` are the covariances with the others' noises, and h_s = η_s + pull·f."""

    shared: Float[Array, "*trials"]
    view: Float[Array, "*trials K"]
    noise: Float[Array, "*trials b"]
    pull: Float[Array, "*trials b"]

    def affine(self, sums: Sums, target: float) -> tuple[Array, Array, Array]:
        """E[f_s x], E[f_s f_j] for j < s and -E[df_s/dη_j], over the bend of the newest stage."""
        _, view, noise, pull = self
        product = target * sums.by_label - view @ sums.by_view.swapaxes(-1, -2) + noise @ sums.slope.swapaxes(-1, -2)
        return (
            target * sums.linear - view @ sums.second - pull @ sums.by_view,
            product - pull @ sums.product,
            -pull @ sums.slope,
        )


def newest_forces(
    cohorts: Sequence[CohortForces], newest: Newest, control: QuadraticLoss
) -> tuple[list[CohortForces], Newest]:
    """The cohorts with their forces on the newest stage, which trains on all of them, and the means of these."""
    total = Newest(*map(np.zeros_like, newest))
    found = [rows.grown(newest, control) for rows in cohorts]
    for rows in found:
        sums = rows.sums
        product, slope, by_view = (part[:, -1].sum(0) for part in (sums.product, sums.slope, sums.by_view))
        rows.add(total, rows.shared, product, slope, by_view)
    return found, total


# -- forces on points -------------------------------------------------------------------------------------------------

Losses = tuple[Loss, QuadraticLoss]  # a loss and its control
_CURVATURES = (1e-6, 50.0)  # between which that of the control lies, in units of 1/X_ss
_TARGETS = (0.05, 1e3)  # between which its target lies


class NewestScores(NamedTuple):
    """u_s of N points at the newest stage (T4.6), with slopes -du_s/dη_j for j < s.

    `noise` deviates the part of u_s that is independent of earlier scores; `centre` is u_s without it.
    """

    score: Float[Array, " points"]
    pulled: Float[Array, "solved points_or_1"]
    noise: float
    centre: Float[Array, " points"]


@dataclass(frozen=True)
class RowForces:
    """The forces f_s of a cohort's N points on the stages solved so far, and their bends -df_s/du_s."""

    points: Points
    force: Float[Array, "points solved"]
    bend: Float[Array, "solved points_or_1"]

    @classmethod
    def of(cls, points: Points, bends: Array) -> "RowForces":
        """On no stage; bends will be as many as `bends`."""
        return cls(points, np.zeros((len(points.y), 0)), np.zeros((0, len(bends))))

    def first(self, size: int) -> "RowForces":
        return RowForces(self.points.first(size), self.force[:size], self.bend[:, :size])

    def newest(self, parameters: OrderParameters) -> NewestScores:
        points, cohort = self.points, self.points.cohort
        row = RowView.of(cohort.selector, parameters, slice(cohort.first, None))
        factor = np.linalg.cholesky(row.noise)[-1]
        x = parameters.x[cohort.first :, cohort.first : -1]
        x_row = x[-1]
        normals = points.normals[:, : len(factor)]
        own = points.view @ (row.view[-1] @ cohort.kept.frame) + normals @ factor  # η_s
        score = own + self.force @ x_row
        pulled = np.zeros_like(self.bend)
        for j in reversed(range(len(x_row))):
            pulled[j] = self.bend[j] * (x_row[j] - x[j + 1 : -1, j] @ pulled[j + 1 :])
        return NewestScores(score, pulled, float(factor[-1]), score - normals[:, -1] * factor[-1])

    def grown(self, loss: Loss | QuadraticLoss, parameters: OrderParameters) -> "RowForces":
        points = self.points
        force, bend = loss.answer(self.newest(parameters).score, points.y, points.weight, parameters.x[-1, -1])
        return RowForces(points, np.column_stack([self.force, force]), np.vstack([self.bend, bend]))

    def means(
        self, loss: Loss | QuadraticLoss, parameters: OrderParameters, smooth: bool
    ) -> tuple[Array, Array, Array]:
        """E[f_s f_j], -E[df_s/dη_j] and E[f_s x]; where f_s is not smooth, the stage's own noise is integrated out."""
        score, pulled, noise, centre = self.newest(parameters)
        points = self.points
        rows = points.y, points.weight, parameters.x[-1, -1]
        mass = points.mass[:, self.force.shape[1] + smooth]
        if smooth:
            force, beta = loss.answer(score, *rows)
            square = force**2
        else:
            force, square, beta = loss.mean_answer(centre, noise, *rows)
        weighted, betas = mass * force, mass * beta
        slope = pulled @ (betas if pulled.shape[1] > 1 else betas.sum(keepdims=True))
        return np.append(weighted @ self.force, mass @ square), np.append(-slope, betas.sum()), weighted @ points.view


@dataclass
class PointMeans:
    """Means over points, with the control fitted on the way until it is settled."""

    cohorts: Sequence[CohortForces]
    before: OrderParameters
    loss: Loss
    control: QuadraticLoss
    settled: bool = False

    def __call__(self, newest: Newest) -> Newest:
        parameters = self.before.extended(newest)
        if not self.settled:
            self.control = closest_quadratic([rows.sampled[0] for rows in self.cohorts], parameters, self.loss)
        found, total = newest_forces(self.cohorts, newest, self.control)
        for rows in found:
            rows.correct(total, parameters, (self.loss, self.control))
        return total


def closest_quadratic(cohorts: Sequence[RowForces], parameters: OrderParameters, loss: Loss) -> QuadraticLoss:
    """A weighted least-squares fit of derivatives over the newest stage's rows at their fitted scores."""
    response = parameters.x[-1, -1]
    columns = []
    for rows in cohorts:
        points, score = rows.points, rows.newest(parameters).score
        force, _ = loss.answer(score, points.y, points.weight, response)
        root_mass = np.sqrt(points.mass[:, rows.force.shape[1] + 1] * points.weight)
        columns.append(np.stack([points.y, -score - response * force, force / points.weight]) * root_mass)
    y, fitted, slope = np.concatenate(columns, axis=1)
    (pull, curvature), *_ = np.linalg.lstsq(np.column_stack([y, fitted]), slope)  # slope = H(m y - h), pull = H m
    curvature = np.clip(curvature, *np.divide(_CURVATURES, response))
    return QuadraticLoss(float(curvature), float(np.clip(pull / curvature, *_TARGETS)))
