"""Residual forces of rows under any convex loss, and their means by quasi-random points (ours): (T4.6) to (T4.8).

u_s is the score that stage s would give without the row's own force on it. The points take only what the loss differs
by from a fitted quadratic one, the control variate, whose means (T3.16) and (T3.17) are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.loop.equations import (
    CohortForces,
    Newest,
    OrderParameters,
    QuadraticLoss,
    RowView,
    add_means,
    newest_forces,
)
from dp_theory.loop.losses import Loss
from dp_theory.loop.points import Points
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float


_CURVATURES = (1e-6, 50.0)  # between which that of the control lies, in units of 1/X_ss
_TARGETS = (0.05, 1e3)  # between which its target lies


@dataclass(frozen=True)
class RowForces:
    """The forces f_s of N points on the stages solved so far, and their slopes -df_s/dη_j."""

    force: Float[Array, "points solved"]
    slope: Float[Array, "points_or_1 solved solved"]

    @classmethod
    def of_no_stage(cls, points: int) -> RowForces:
        return cls(np.zeros((points, 0)), np.zeros((1, 0, 0)))

    def first(self, size: int) -> RowForces:
        return RowForces(self.force[:size], self.slope[:size])

    def extended(self, force: Array, slope: Array) -> RowForces:
        solved = self.force.shape[1]
        matrices = max(len(slope), len(self.slope))
        slopes = np.zeros((matrices, solved + 1, solved + 1))
        slopes[:, :solved, :solved] = self.slope
        slopes[:, solved] = slope
        return RowForces(np.column_stack([self.force, force]), slopes)


@dataclass(frozen=True)
class NewestScores:
    """u_s of N points at the newest stage (T4.6), with slopes du_s/dη_j.

    `noise` deviates the part of u_s that is independent of earlier scores; `centre` is u_s without it.
    """

    score: Float[Array, " points"]
    slope: Float[Array, "points_or_1 b"]
    noise: float
    centre: Float[Array, " points"]


@dataclass(frozen=True)
class SampledCohort:
    """The points of a cohort; `of_loss` are the forces under the loss, `of_control` those under its control."""

    points: Points
    of_loss: RowForces
    of_control: RowForces

    @classmethod
    def of(cls, points: Points) -> SampledCohort:
        none = RowForces.of_no_stage(len(points.y))
        return cls(points, none, none)

    def trains(self, stage: int) -> bool:
        return self.points.cohort.trains(stage)

    def extended(self, loss: Loss, control: QuadraticLoss, parameters: OrderParameters) -> SampledCohort:
        of_loss = self.of_loss.extended(*self.newest_forces(loss, self.of_loss, parameters))
        of_control = self.of_control.extended(*self.newest_forces(control, self.of_control, parameters))
        return SampledCohort(self.points, of_loss, of_control)

    def first(self, size: int) -> SampledCohort:
        size = min(size, len(self.points.y))
        return SampledCohort(self.points.first(size), self.of_loss.first(size), self.of_control.first(size))

    def newest_scores(self, before: RowForces, parameters: OrderParameters) -> NewestScores:
        cohort = self.points.cohort
        s = parameters.stages - 1
        row = RowView.of(cohort.selector, parameters, slice(cohort.first, s + 1))
        factor = np.linalg.cholesky(row.noise)[-1]
        x_row = parameters.x[s, cohort.first : s]
        own = (
            self.points.view @ (row.view[-1] @ cohort.kept.frame) + self.points.normals[:, : len(factor)] @ factor
        )  # η_s
        score = own + before.force @ x_row
        centre = score - self.points.normals[:, len(factor) - 1] * factor[-1]
        through_forces = -np.tensordot(before.slope, x_row, axes=(1, 0))
        slope = np.append(through_forces, np.ones((len(before.slope), 1)), axis=1)
        return NewestScores(score, slope, float(factor[-1]), centre)

    def newest_forces(
        self, loss: Loss | QuadraticLoss, before: RowForces, parameters: OrderParameters
    ) -> tuple[Float[Array, " points"], Float[Array, "points_or_1 b"]]:
        newest = self.newest_scores(before, parameters)
        force, beta = loss.answer(newest.score, self.points.y, self.points.weight, parameters.x[-1, -1])
        return force, beta[:, None] * newest.slope

    def newest_means(
        self, loss: Loss | QuadraticLoss, before: RowForces, parameters: OrderParameters, smooth: bool
    ) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " K"]]:
        """E[f_s f_j], -E[df_s/dη_j] and E[f_s x]; where f_s is not smooth, the stage's own noise is integrated out."""
        newest = self.newest_scores(before, parameters)
        y = self.points.y
        weight = self.points.weight
        response = parameters.x[-1, -1]
        place = before.force.shape[1]
        if smooth:
            force, beta = loss.answer(newest.score, y, weight, response)
            square = force**2
            mass = self.points.mass[:, place + 1]
        else:
            force, square, beta = loss.mean_answer(newest.centre, newest.noise, y, weight, response)
            mass = self.points.mass[:, place]
        weighted = mass * force
        betas = mass * beta
        same_slope = len(newest.slope) == 1
        slope = betas.sum() * newest.slope[0] if same_slope else betas @ newest.slope
        return np.append(weighted @ before.force, mass @ square), slope, weighted @ self.points.view

    def correct(self, total: Newest, parameters: OrderParameters, loss: Loss, control: QuadraticLoss) -> None:
        """Add the sum over points in (T4.8), in place."""
        cohort = self.points.cohort
        of_loss = self.newest_means(loss, self.of_loss, parameters, loss.smooth)
        of_control = self.newest_means(control, self.of_control, parameters, loss.smooth)
        products, slopes, by_view = (one - other for one, other in zip(of_loss, of_control, strict=True))
        scale, shared = 1.0, np.zeros(len(slopes))
        if (k := cohort.selector) is not None:
            scale = float(np.sqrt(parameters.c[k, k]))
            shared = parameters.c[cohort.first : parameters.stages, k] / scale
        add_means(total, cohort, scale, shared, products, slopes, by_view)


def correct_means(
    points: Sequence[SampledCohort], total: Newest, parameters: OrderParameters, loss: Loss, control: QuadraticLoss
) -> None:
    """Make the means of forces under the control those under the loss, in place."""
    for rows in points:
        if rows.trains(parameters.stages - 1):
            rows.correct(total, parameters, loss, control)


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
        if not self.settled:
            here = [rows for rows in self.points if rows.trains(self.before.stages)]
            self.control = closest_quadratic(here, parameters, self.loss)
        total = newest_forces(self.cohorts, newest, self.control)[1]
        correct_means(self.points, total, parameters, self.loss, self.control)
        return total


def closest_quadratic(cohorts: Sequence[SampledCohort], parameters: OrderParameters, loss: Loss) -> QuadraticLoss:
    """A weighted least-squares fit of derivatives over the newest stage's rows at their fitted scores."""
    s = parameters.stages - 1
    response = parameters.x[s, s]
    columns = []
    for sampled in cohorts:
        points = sampled.points
        newest = sampled.newest_scores(sampled.of_loss, parameters)
        force, _ = loss.answer(newest.score, points.y, points.weight, response)
        root_mass = np.sqrt(points.mass[:, s - points.cohort.first + 1] * points.weight)
        columns.append(np.stack([points.y, -newest.score - response * force, force / points.weight]) * root_mass)
    y, fitted, slope = np.concatenate(columns, axis=1)
    (pull, curvature), *_ = np.linalg.lstsq(np.column_stack([y, fitted]), slope)  # slope = H(m y - h), pull = H m
    curvature = np.clip(curvature, *np.divide(_CURVATURES, response))
    return QuadraticLoss(float(curvature), float(np.clip(pull / curvature, *_TARGETS)))
