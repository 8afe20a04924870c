"""Means of forces over points: (T4.6) to (T4.8) of docs/theory/practice.md."""

from dataclasses import dataclass

import numpy as np

from dp_theory.loop.losses.loss import Loss
from dp_theory.loop.losses.points import Points
from dp_theory.loop.square import OrderParameters, Row
from dp_theory.numerics.checks import Array, Float


@dataclass(frozen=True)
class SampledRows:
    """The forces f_s of a cohort's N points on the stages solved so far, and their bends -df_s/du_s."""

    points: Points
    force: Float[Array, "points solved"]
    bend: Float[Array, "solved points"]

    @classmethod
    def of(cls, points: Points) -> "SampledRows":
        none = np.zeros((len(points.y), 0))
        return cls(points, none, none.T)

    def scores(self, parameters: OrderParameters) -> Array:
        """u_s (T4.6)."""
        points, cohort = self.points, self.points.cohort
        view, noise, _ = cohort.scores(parameters)
        factor = np.linalg.cholesky(noise)[-1]
        eta = points.view @ view[-1] + points.normals[:, : len(factor)] @ factor
        return eta + self.force @ parameters.x[-1, cohort.first : -1]

    def slopes(self, x: Float[Array, "b b"]) -> Float[Array, "solved points"]:
        """-du_s/dη_j at the newest stage, for j < s (T4.7)."""
        slopes = np.zeros_like(self.bend)
        for j in reversed(range(len(slopes))):
            slopes[j] = self.bend[j] * (x[-1, j] - x[j + 1 : -1, j] @ slopes[j + 1 :])
        return slopes

    def means(self, parameters: OrderParameters, loss: Loss, start: Array | None) -> tuple[Row, Array]:
        """(T4.8), and the forces; `start` are such forces nearby."""
        points, cohort = self.points, self.points.cohort
        first, k = cohort.first, cohort.selector
        mass = points.mass[:, self.force.shape[1] + 1]
        force, bend = loss.answer(self.scores(parameters), points.y, points.weight, parameters.x[-1, -1], start)
        of_rows, of_bends = mass * force, mass * bend
        by_view = cohort.frame @ (of_rows @ points.view)
        slope = np.append(-self.slopes(parameters.x[first:, first:]) @ of_bends, of_bends.sum())
        ff, gamma = np.zeros((2, len(parameters.a)))
        ff[first:], gamma[first:] = np.append(of_rows @ self.force, mass @ force**2), slope
        if k is not None:
            shared = parameters.c[first:, k] / np.sqrt(parameters.c[k, k])
            gamma[k] -= (by_view[-1] + slope @ shared) / np.sqrt(parameters.c[k, k])
        return np.concatenate([by_view[: parameters.a.shape[1]], ff, gamma]), force

    def grown(self, parameters: OrderParameters, loss: Loss) -> "SampledRows":
        """With the points' forces on the newest stage."""
        force, bend = loss.answer(self.scores(parameters), self.points.y, self.points.weight, parameters.x[-1, -1])
        return SampledRows(self.points, np.column_stack([self.force, force]), np.vstack([self.bend, bend]))
