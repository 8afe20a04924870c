"""Residual forces of rows under any convex loss, and their means by quasi-random points (ours): (T4.6) to (T4.8).

u_s is the score that stage s would give without the row's own force on it. The points take only what the loss differs
by from a fitted quadratic one, the control variate, whose means (T3.16) and (T3.17) are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.loop.equations import (
    CohortForces,
    Newest,
    OrderParameters,
    QuadraticLoss,
    RowView,
    add_means,
    newest_forces,
    with_row,
)
from dp_theory.loop.losses import Loss
from dp_theory.loop.points import Points
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float


_CURVATURES = (1e-6, 50.0)  # between which that of the control lies, in units of 1/X_ss
_TARGETS = (0.05, 1e3)  # between which its target lies


class NewestScores(NamedTuple):
    """u_s of N points at the newest stage (T4.6), with slopes du_s/dη_j.

    `noise` deviates the part of u_s that is independent of earlier scores; `centre` is u_s without it.
    """

    score: Float[Array, " points"]
    slope: Float[Array, "points_or_1 b"]
    noise: float
    centre: Float[Array, " points"]


@dataclass(frozen=True)
class RowForces:
    """The forces f_s of a cohort's N points on the stages solved so far, and their slopes -df_s/dη_j."""

    points: Points
    force: Float[Array, "points solved"]
    slope: Float[Array, "points_or_1 solved solved"]

    def first(self, size: int) -> RowForces:
        return RowForces(self.points.first(size), self.force[:size], self.slope[:size])

    def newest(self, parameters: OrderParameters) -> NewestScores:
        points = self.points
        cohort = points.cohort
        s = parameters.stages - 1
        row = RowView.of(cohort.selector, parameters, slice(cohort.first, s + 1))
        factor = np.linalg.cholesky(row.noise)[-1]
        x_row = parameters.x[s, cohort.first : s]
        own = points.view @ (row.view[-1] @ cohort.kept.frame) + points.normals[:, : len(factor)] @ factor  # η_s
        score = own + self.force @ x_row
        centre = score - points.normals[:, len(factor) - 1] * factor[-1]
        slope = np.append(-x_row @ self.slope, np.ones((len(self.slope), 1)), axis=1)
        return NewestScores(score, slope, float(factor[-1]), centre)

    def grown(self, loss: Loss | QuadraticLoss, parameters: OrderParameters) -> RowForces:
        newest = self.newest(parameters)
        force, beta = loss.answer(newest.score, self.points.y, self.points.weight, parameters.x[-1, -1])
        slope = with_row(self.slope, beta[:, None] * newest.slope)
        return RowForces(self.points, np.column_stack([self.force, force]), slope)

    def means(
        self, loss: Loss | QuadraticLoss, parameters: OrderParameters, smooth: bool
    ) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " K"]]:
        """E[f_s f_j], -E[df_s/dη_j] and E[f_s x]; where f_s is not smooth, the stage's own noise is integrated out."""
        newest = self.newest(parameters)
        points = self.points
        response = parameters.x[-1, -1]
        mass = points.mass[:, self.force.shape[1] + smooth]
        if smooth:
            force, beta = loss.answer(newest.score, points.y, points.weight, response)
            square = force**2
        else:
            force, square, beta = loss.mean_answer(newest.centre, newest.noise, points.y, points.weight, response)
        weighted = mass * force
        betas = mass * beta
        slope = betas.sum() * newest.slope[0] if len(newest.slope) == 1 else betas @ newest.slope
        return np.append(weighted @ self.force, mass @ square), slope, weighted @ points.view


@dataclass(frozen=True)
class SampledCohort:
    """The forces on a cohort's points, under the loss and under its control."""

    of_loss: RowForces
    of_control: RowForces

    @classmethod
    def of(cls, points: Points) -> SampledCohort:
        none = RowForces(points, np.zeros((len(points.y), 0)), np.zeros((1, 0, 0)))
        return cls(none, none)

    def trains(self, stage: int) -> bool:
        return self.of_loss.points.cohort.trains(stage)

    def grown(self, loss: Loss, control: QuadraticLoss, parameters: OrderParameters) -> SampledCohort:
        return SampledCohort(self.of_loss.grown(loss, parameters), self.of_control.grown(control, parameters))

    def first(self, size: int) -> SampledCohort:
        return SampledCohort(self.of_loss.first(size), self.of_control.first(size))

    def correct(self, total: Newest, parameters: OrderParameters, loss: Loss, control: QuadraticLoss) -> None:
        """Add the sum over points in (T4.8), in place."""
        cohort = self.of_loss.points.cohort
        of_loss = self.of_loss.means(loss, parameters, loss.smooth)
        of_control = self.of_control.means(control, parameters, loss.smooth)
        products, slopes, by_view = (one - other for one, other in zip(of_loss, of_control, strict=True))
        scale, shared = 1.0, np.zeros(len(slopes))
        if (k := cohort.selector) is not None:
            scale = float(np.sqrt(parameters.c[k, k]))
            shared = parameters.c[cohort.first : parameters.stages, k] / scale
        add_means(total, cohort, scale, shared, products, slopes, by_view)


@dataclass
class PointMeans:
    """Means over points, with the control fitted on the way until it is settled."""

    cohorts: Sequence[CohortForces]
    before: OrderParameters
    points: Sequence[SampledCohort]
    loss: Loss
    control: QuadraticLoss
    settled: bool = False

    def __call__(self, newest: Newest) -> Newest:
        parameters = self.before.extended(newest)
        here = [rows for rows in self.points if rows.trains(self.before.stages)]
        if not self.settled:
            self.control = closest_quadratic([rows.of_loss for rows in here], parameters, self.loss)
        total = newest_forces(self.cohorts, newest, self.control)[1]
        for rows in here:
            rows.correct(total, parameters, self.loss, self.control)
        return total


def closest_quadratic(cohorts: Sequence[RowForces], parameters: OrderParameters, loss: Loss) -> QuadraticLoss:
    """A weighted least-squares fit of derivatives over the newest stage's rows at their fitted scores."""
    response = parameters.x[-1, -1]
    columns = []
    for rows in cohorts:
        points = rows.points
        score = rows.newest(parameters).score
        force, _ = loss.answer(score, points.y, points.weight, response)
        root_mass = np.sqrt(points.mass[:, rows.force.shape[1] + 1] * points.weight)
        columns.append(np.stack([points.y, -score - response * force, force / points.weight]) * root_mass)
    y, fitted, slope = np.concatenate(columns, axis=1)
    (pull, curvature), *_ = np.linalg.lstsq(np.column_stack([y, fitted]), slope)  # slope = H(m y - h), pull = H m
    curvature = np.clip(curvature, *np.divide(_CURVATURES, response))
    return QuadraticLoss(float(curvature), float(np.clip(pull / curvature, *_TARGETS)))
