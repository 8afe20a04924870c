"""Forces of rows on points: (T4.6) to (T4.8) of docs/theory/practice.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dp_theory.loop.losses.loss import Loss, QuadraticLoss
from dp_theory.loop.losses.points import Points
from dp_theory.loop.square import ForceMeans, OrderParameters, RowView, Solution, StageRow, TrainingRows
from dp_theory.numerics.checks import Array, Float

Losses = tuple[Loss, QuadraticLoss]  # a loss and its control
_CURVATURES = (1e-6, 50.0)  # between which that of the control lies, in units of 1/X_ss
_TARGETS = (0.05, 1e3)  # between which its target lies


class NewestScores(NamedTuple):
    """u_s of N points at the newest stage (T4.6), with slopes -du_s/dη_j for j < s.

    `noise` deviates the part of u_s that is independent of earlier scores; `centre` is u_s without it.
    """

    score: Float[Array, " points"]
    slope_by_score: Float[Array, "solved points_or_1"]
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
        slope_by_score = np.zeros_like(self.bend)
        for j in reversed(range(len(x_row))):
            slope_by_score[j] = self.bend[j] * (x_row[j] - x[j + 1 : -1, j] @ slope_by_score[j + 1 :])
        return NewestScores(score, slope_by_score, float(factor[-1]), score - normals[:, -1] * factor[-1])

    def grown(self, loss: Loss | QuadraticLoss, parameters: OrderParameters) -> "RowForces":
        points = self.points
        force, bend = loss.answer(self.newest(parameters).score, points.y, points.weight, parameters.x[-1, -1])
        return RowForces(points, np.column_stack([self.force, force]), np.vstack([self.bend, bend]))

    def means(
        self, loss: Loss | QuadraticLoss, parameters: OrderParameters, smooth: bool
    ) -> tuple[Array, Array, Array]:
        """E[f_s f_j], -E[df_s/dη_j] and E[f_s x]; where f_s is not smooth, the stage's own noise is integrated out."""
        score, slope_by_score, noise, centre = self.newest(parameters)
        points = self.points
        rows = points.y, points.weight, parameters.x[-1, -1]
        mass = points.mass[:, self.force.shape[1] + smooth]
        if smooth:
            force, beta = loss.answer(score, *rows)
            square = force**2
        else:
            force, square, beta = loss.mean_answer(centre, noise, *rows)
        weighted, betas = mass * force, mass * beta
        slope = slope_by_score @ (betas if slope_by_score.shape[1] > 1 else betas.sum(keepdims=True))
        return np.append(weighted @ self.force, mass @ square), np.append(-slope, betas.sum()), weighted @ points.view


@dataclass(frozen=True)
class SampledRows:
    """The forces of a cohort on points, under the loss and under its control."""

    of_loss: RowForces
    of_control: RowForces

    @classmethod
    def of(cls, points: Points) -> "SampledRows":
        return cls(RowForces.of(points, points.y), RowForces.of(points, points.weight))

    def first(self, size: int) -> "SampledRows":
        return SampledRows(self.of_loss.first(size), self.of_control.first(size))

    def correction(self, rows: TrainingRows, parameters: OrderParameters, losses: Losses) -> ForceMeans:
        """The sum over points in (T4.8); these have the forces of earlier stages."""
        pairs = zip((self.of_loss, self.of_control), losses, strict=True)
        means = (forces.means(loss, parameters, losses[0].smooth) for forces, loss in pairs)
        product, slope, by_view = map(np.subtract, *means)
        return rows.placed(parameters, by_view, product, slope)

    def grown(self, parameters: OrderParameters, losses: Losses) -> "SampledRows":
        """With the points' forces on the newest stage."""
        loss, control = losses
        return SampledRows(self.of_loss.grown(loss, parameters), self.of_control.grown(control, parameters))


@dataclass
class PointMeans:
    """Means over points, with the control fitted on the way until it is settled."""

    before: Solution
    sampled: Sequence[SampledRows]
    loss: Loss
    control: QuadraticLoss
    settled: bool = False

    def __call__(self, newest: StageRow) -> ForceMeans:
        parameters = self.before.orders.extended(newest)
        if not self.settled:
            self.control = closest_quadratic([each.of_loss for each in self.sampled], parameters, self.loss)
        return self.with_slopes(newest)[1]

    def with_slopes(self, newest: StageRow) -> tuple[list[Array], ForceMeans]:
        """The control's slopes on the newest stage, and the means."""
        parameters, training = self.before.orders.extended(newest), self.before.training
        targets = np.append(self.before.targets, self.control.target)
        slopes, means = zip(
            *(rows.newest(parameters, targets, self.control.curvature) for rows in training), strict=True
        )
        pairs = zip(self.sampled, training, strict=True)
        corrections = [each.correction(rows, parameters, (self.loss, self.control)) for each, rows in pairs]
        return list(slopes), ForceMeans(*(np.sum(part, axis=0) for part in zip(*means, *corrections, strict=True)))


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
