"""Forces of rows on points: (T4.6) to (T4.8) of docs/theory/practice.md."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dp_theory.loop.losses.loss import Loss, QuadraticLoss
from dp_theory.loop.losses.points import Points
from dp_theory.loop.placed import Cohort
from dp_theory.loop.square import OrderParameters, Row, Solution
from dp_theory.numerics.checks import Array, Float

Losses = tuple[Loss, QuadraticLoss]  # a loss and its control
# Between which that of the control lies, in units of 1/X_ss.
_CURVATURES = (1e-6, 50.0)
# Between which its target lies.
_TARGETS = (0.05, 1e3)


@dataclass(frozen=True)
class RowForces:
    """The forces f_s of a cohort's N points on the stages solved so far, and their bends -df_s/du_s."""

    force: Float[Array, "points solved"]
    bend: Float[Array, "solved points_or_1"]

    def slopes(self, x: Float[Array, "b b"]) -> Float[Array, "solved points_or_1"]:
        """-du_s/dη_j at the newest stage, for j < s (T4.7)."""
        slopes = np.zeros_like(self.bend)
        for j in reversed(range(len(slopes))):
            slopes[j] = self.bend[j] * (x[-1, j] - x[j + 1 : -1, j] @ slopes[j + 1 :])
        return slopes

    def grown(self, force: Array, bend: Array) -> "RowForces":
        return RowForces(np.column_stack([self.force, force]), np.vstack([self.bend, bend]))


@dataclass(frozen=True)
class SampledRows:
    """The forces of a cohort on points, under the loss and under its control."""

    points: Points
    of_loss: RowForces
    of_control: RowForces

    @classmethod
    def of(cls, points: Points) -> "SampledRows":
        none = np.zeros((len(points.y), 0))
        # bends under the control are the same for points of one weight
        of_loss, of_control = (RowForces(none, np.zeros((0, len(each)))) for each in (points.y, points.weight))
        return cls(points, of_loss, of_control)

    def scores(self, parameters: OrderParameters) -> tuple[Array, Array, Array, float]:
        """u_s under the loss and under the control (T4.6), the part that is new at stage s, and its deviation."""
        points, cohort = self.points, self.points.cohort
        view, noise, _ = parameters.scores(cohort.selector, slice(cohort.first, None))
        factor = np.linalg.cholesky(noise)[-1]
        own = points.view @ (view[-1] @ cohort.frame) + points.normals[:, : len(factor)] @ factor  # η_s
        x = parameters.x[-1, cohort.first : -1]
        of_loss, of_control = (own + forces.force @ x for forces in (self.of_loss, self.of_control))
        return of_loss, of_control, points.normals[:, len(factor) - 1], float(factor[-1])

    def means(
        self, parameters: OrderParameters, loss: Loss, controls: Sequence[QuadraticLoss], start: Array | None
    ) -> tuple[Row, Array]:
        """(T4.8), and the forces under the loss; `start` are such forces nearby.

        Where f_s is not smooth, the stage's own noise is integrated out.
        """
        points, cohort, control = self.points, self.points.cohort, controls[-1]
        first, k = cohort.first, cohort.selector
        of_loss, of_control, new, noise = self.scores(parameters)
        at = points.y, points.weight, parameters.x[-1, -1]
        mass = points.mass[:, self.of_loss.force.shape[1] + loss.smooth]
        if loss.smooth:
            force, bend = loss.answer(of_loss, *at, start)
            control_force, control_bend = control.answer(of_control, *at)
            square = force**2 - control_force**2
        else:
            force, square, bend = loss.mean_answer(of_loss - noise * new, noise, *at)
            control_force, control_square, control_bend = control.mean_answer(of_control - noise * new, noise, *at)
            square = square - control_square
        product, slope, by_view = control_means(cohort, parameters, controls)
        product[-1] += mass @ square
        for sign, forces, of_rows, bends in (
            (1, self.of_loss, mass * force, mass * bend),
            (-1, self.of_control, mass * control_force, mass * control_bend),
        ):
            slopes = forces.slopes(parameters.x[first:, first:])
            bends = bends if slopes.shape[1] > 1 else bends.sum(keepdims=True)
            product[:-1] += sign * of_rows @ forces.force
            slope += sign * np.append(-slopes @ bends, bends.sum())
            by_view += sign * of_rows @ points.view
        by_view = cohort.frame @ by_view
        ff, gamma = (np.append(np.zeros(first), part) for part in (product, slope))
        if k is not None:
            shared = parameters.c[:, k] / np.sqrt(parameters.c[k, k])
            gamma[k] -= (by_view[-1] + slope @ shared[first:]) / np.sqrt(parameters.c[k, k])
        return (by_view[: parameters.a.shape[1]], ff, gamma), force

    def grown(self, parameters: OrderParameters, losses: Losses) -> "SampledRows":
        """With the points' forces on the newest stage."""
        at = self.points.y, self.points.weight, parameters.x[-1, -1]
        pairs = zip((self.of_loss, self.of_control), losses, self.scores(parameters)[:2], strict=True)
        return SampledRows(self.points, *(forces.grown(*loss.answer(score, *at)) for forces, loss, score in pairs))


def control_means(
    cohort: Cohort, parameters: OrderParameters, controls: Sequence[QuadraticLoss]
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " K"]]:
    """E[f_s fᵀ], the newest row of E[B], and E[f_s x], under a quadratic loss for each stage (T3.16)."""
    b = slice(cohort.first, None)
    view, noise, _ = parameters.scores(cohort.selector, b)
    target, curvature = np.array([(control.target, control.curvature) for control in controls[b]]).T
    firmness = 1 / (cohort.weight[:, None] * curvature)
    slopes = np.linalg.inv(parameters.x[b, b] + firmness[:, None, :] * np.eye(len(target)))
    pull = np.column_stack([target, -view @ cohort.frame])
    by_row = slopes[:, -1:] @ pull @ cohort.moments
    mass = cohort.mass
    by_pull = by_row @ pull.T + mass[:, None, None] * (slopes[:, -1:] @ noise)
    return np.einsum("jab,jcb->c", by_pull, slopes), mass @ slopes[:, -1], by_row.sum((0, 1))[1:]


@dataclass
class PointMeans:
    """Means over points, with the newest control fitted on the way until it is settled."""

    before: Solution
    sampled: Sequence[SampledRows]
    loss: Loss
    controls: Sequence[QuadraticLoss]  # of the stages before
    control: QuadraticLoss = field(default_factory=QuadraticLoss)
    settled: bool = False
    start: Sequence[Array] = field(default=(), init=False)  # the forces of the last call

    def __call__(self, newest: Row) -> Row:
        parameters = self.before.orders.grown(newest)
        if not self.settled:
            self.control = closest_quadratic(self.sampled, parameters, self.loss)
        controls, start = [*self.controls, self.control], self.start or [None] * len(self.sampled)
        means, self.start = zip(
            *(
                each.means(parameters, self.loss, controls, forces)
                for each, forces in zip(self.sampled, start, strict=True)
            ),
            strict=True,
        )
        return [np.sum(part, axis=0) for part in zip(*means, strict=True)]


def closest_quadratic(sampled: Sequence[SampledRows], parameters: OrderParameters, loss: Loss) -> QuadraticLoss:
    """A weighted least-squares fit of derivatives over the newest stage's rows at their fitted scores."""
    response = parameters.x[-1, -1]
    columns = []
    for rows in sampled:
        points, (score, *_) = rows.points, rows.scores(parameters)
        force, _ = loss.answer(score, points.y, points.weight, response)
        root_mass = np.sqrt(points.mass[:, rows.of_loss.force.shape[1] + 1] * points.weight)
        columns.append(np.stack([points.y, -score - response * force, force / points.weight]) * root_mass)
    y, fitted, slope = np.concatenate(columns, axis=1)
    (pull, curvature), *_ = np.linalg.lstsq(np.column_stack([y, fitted]), slope)  # slope = H(m y - h), pull = H m
    curvature = np.clip(curvature, *np.divide(_CURVATURES, response))
    return QuadraticLoss(float(curvature), float(np.clip(pull / curvature, *_TARGETS)))
