"""The kept rows of a cohort as weighted points of a randomised quasi-Monte Carlo rule, for losses other than the
square.

A point is a kind of row (true and observed label), a score t, ζ, and a normal for each stage that trains on the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from dp_theory.loop.equations import (
    CohortForces,
    Newest,
    OrderParameters,
    QuadraticLoss,
    RowView,
    add_means,
    newest_forces,
)
from dp_theory.loop.flips import BoundaryFlips, chance_of_flip
from dp_theory.loop.losses import Loss
from dp_theory.loop.placed import Cohort, PlacedRows, panel_edges
from dp_theory.numerics.checks import Array, Float, Int
from dp_theory.numerics.quadrature import gauss, pdf

# Points are drawn from wider normals than the rows have, and weighted accordingly: forces grow in the tails.
_SCORE_WIDTH = 1.4  # standard deviation from which t is drawn
_NORMAL_WIDTHS = (1.4, 1.15)  # standard deviations of the first normals; those of the others are 1

_PANEL_ORDER = 16  # nodes that resolve the density of kept rows on a panel
_PARTS = 16  # of a panel: on each the distribution of kept rows is nearly linear
_PART_ORDER = 4  # nodes on such a part
_NEWTON_STEPS = 4  # of the inversion of the distribution on a part
_INSIDE = 1e-12  # distance of uniform points from 0 and 1, where normal quantiles are infinite
_TINY = 1e-300  # in place of a 0 in a denominator or a logarithm

_TRUE_LABELS = np.array([1.0, -1.0, 1.0, -1.0])  # of the four kinds of rows; the last two have a wrong label
_OBSERVED_LABELS = np.array([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Points:
    """N weighted points for the kept rows of a cohort, which b stages train on.

    Column j of `mass`, in units of n, is for functions F of y, view and the first j normals: E[F] = Σ mass·F. `normals`
    are what each stage adds to the noise of (T3.15).
    """

    cohort: Cohort
    y: Float[Array, " points"]
    weight: Float[Array, " points_or_1"]
    mass: Float[Array, "points functions"]
    view: Float[Array, "points K"]
    normals: Float[Array, "points b"]


def draw_points(cohort: Cohort, placed: PlacedRows, size: int, rng: np.random.Generator) -> Points:
    """Scrambled Sobol points. The first coordinate decides kind and t, so that a narrow window takes no more points."""
    scores = _KeptScores(placed)
    uniform = qmc.Sobol(2 + cohort.last - cohort.first, rng=rng).random(size)
    uniform = np.clip(uniform, _INSIDE, 1 - _INSIDE)
    kind, t = scores.quantile(uniform[:, 0])
    zeta = scores.zeta(uniform[:, 1], kind, t)
    normals = ndtri(uniform[:, 2:])
    widths = np.append(_NORMAL_WIDTHS, np.ones(normals.shape[1]))[: normals.shape[1]]
    normals *= widths
    # -ln of the density of N(0, 1) over that of N(0, width²), up to a constant, for t and the first normals
    of_normals = np.pad(np.cumsum((1 - widths**-2) / 2 * normals**2, axis=1), ((0, 0), (1, 0)))
    excess = of_normals + (1 - _SCORE_WIDTH**-2) / 2 * t[:, None] ** 2
    mass = np.exp(-excess) * scores.correction(kind, t, zeta)
    weight = scores.weight(t, kind)
    one_weight = weight.min() == weight.max()
    return Points(
        cohort,
        _OBSERVED_LABELS[kind],
        weight[:1] if one_weight else weight,
        cohort.mass.sum() * mass / mass.sum(axis=0),
        np.column_stack([t, zeta])[:, : len(cohort.kept.frame)],
        normals,
    )


class _KeptScores:
    """Kinds and scores t, drawn from a wider normal, with a bound of flips that `correction` mends."""

    def __init__(self, placed: PlacedRows) -> None:
        self._placed = placed
        self._cosine = float(placed.axes.labeller[0])
        self._sine = placed.axes.kappa
        self._tau = self._cosine / max(self._sine, _TINY)
        # bounds of the chances that a label is right, and that it is wrong
        self._right, self._wrong = (
            (1.0, placed.flip.eps) if isinstance(placed.flip, BoundaryFlips) else (1 - placed.flip, placed.flip)
        )
        edges = panel_edges(placed, _PANEL_ORDER)
        inner = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(_PARTS) / _PARTS
        cuts = np.append(inner.ravel(), edges[-1])
        kinds = 4 if self._wrong else 2
        # intervals of t, for one kind after the other
        self._left = np.tile(cuts[:-1], kinds)
        self._width = np.tile(np.diff(cuts), kinds)
        self._kind = np.repeat(np.arange(kinds), len(cuts) - 1)
        amounts = self._amount(self._left, self._width, self._kind)
        self._cumulated = np.concatenate([[0.0], np.cumsum(amounts)])

    def quantile(self, uniform: Array) -> tuple[Int[np.ndarray, " points"], Array]:
        level = uniform * self._cumulated[-1]
        interval = np.searchsorted(self._cumulated[1:-1], level, side="right")
        left = self._left[interval]
        width = self._width[interval]
        kind = self._kind[interval]
        level = level - self._cumulated[interval]
        amount = self._cumulated[interval + 1] - self._cumulated[interval]
        t = left + width * level / np.maximum(amount, _TINY)
        for _ in range(_NEWTON_STEPS):
            density = np.maximum(self._density(t, kind), _TINY)
            t = np.clip(t - (self._amount(left, t - left, kind) - level) / density, left, left + width)
        return kind, t

    def zeta(self, uniform: Array, kind: np.ndarray, t: Array) -> Array:
        true = _TRUE_LABELS[kind]  # it is the sign of cosine·t + sine·ζ
        chance = ndtr(np.clip(true * self._tau * t, -37, 40))
        return -true * ndtri(np.maximum(uniform * chance, _TINY))

    def weight(self, t: Array, kind: np.ndarray) -> Array:
        return self._placed.rows.select(t[None], _OBSERVED_LABELS[kind])[1]

    def correction(self, kind: np.ndarray, t: Array, zeta: Array) -> Array:
        wrong = chance_of_flip(self._placed.flip, self._cosine * t + self._sine * zeta)
        agrees = _TRUE_LABELS[kind] == _OBSERVED_LABELS[kind]
        return np.where(agrees, (1 - wrong) / (self._right or 1.0), wrong / (self._wrong or 1.0))[:, None]

    def _density(self, t: Array, kind: np.ndarray) -> Array:
        true = _TRUE_LABELS[kind]
        keep, weight = self._placed.rows.select(t[None], _OBSERVED_LABELS[kind])
        label = np.where(true == _OBSERVED_LABELS[kind], self._right, self._wrong)
        chance = label * ndtr(np.clip(true * self._tau * t, -40, 40))
        return keep * (weight > 0) * chance * pdf(t / _SCORE_WIDTH)

    def _amount(self, left: Array, width: Array, kind: np.ndarray) -> Array:
        x, shares = gauss(_PART_ORDER)
        t = left[:, None] + width[:, None] * x
        density = self._density(t.ravel(), np.repeat(kind, _PART_ORDER))
        return width * (density.reshape(t.shape) @ shares)


# -- forces -----------------------------------------------------------------------------------------------------------


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

    def newest(self, parameters: OrderParameters) -> NewestScores:
        points = self.points
        cohort = points.cohort
        s = parameters.stages - 1
        row = RowView.of(cohort.selector, parameters, slice(cohort.first, s + 1))
        factor = np.linalg.cholesky(row.noise)[-1]
        x = parameters.x[cohort.first :, cohort.first :]
        x_row = x[-1, :-1]
        own = points.view @ (row.view[-1] @ cohort.kept.frame) + points.normals[:, : len(factor)] @ factor  # η_s
        score = own + self.force @ x_row
        centre = score - points.normals[:, len(factor) - 1] * factor[-1]
        pulled = np.zeros_like(self.bend)
        for j in reversed(range(len(x_row))):
            pulled[j] = self.bend[j] * (x_row[j] - x[j + 1 : -1, j] @ pulled[j + 1 :])
        return NewestScores(score, pulled, float(factor[-1]), centre)

    def grown(self, loss: Loss | QuadraticLoss, parameters: OrderParameters) -> RowForces:
        newest = self.newest(parameters)
        force, bend = loss.answer(newest.score, self.points.y, self.points.weight, parameters.x[-1, -1])
        return RowForces(self.points, np.column_stack([self.force, force]), np.vstack([self.bend, bend]))

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
        pulled = newest.pulled @ (betas if newest.pulled.shape[1] > 1 else betas.sum(keepdims=True))
        slope = np.append(-pulled, betas.sum())
        return np.append(weighted @ self.force, mass @ square), slope, weighted @ points.view


@dataclass(frozen=True)
class SampledCohort:
    """The forces on a cohort's points, under the loss and under its control."""

    of_loss: RowForces
    of_control: RowForces

    @classmethod
    def of(cls, points: Points) -> SampledCohort:
        none = np.zeros((len(points.y), 0))
        return cls(*(RowForces(points, none, np.zeros((0, len(per)))) for per in (points.y, points.weight)))

    def trains(self, stage: int) -> bool:
        return self.of_loss.points.cohort.trains(stage)

    def grown(self, loss: Loss, control: QuadraticLoss, parameters: OrderParameters) -> SampledCohort:
        return SampledCohort(self.of_loss.grown(loss, parameters), self.of_control.grown(control, parameters))

    def first(self, size: int) -> SampledCohort:
        points = self.of_loss.points
        parts = {name: getattr(points, name)[:size] for name in ("y", "weight", "mass", "view", "normals")}
        parts["mass"] = len(points.y) / size * parts["mass"]
        few = replace(points, **parts)
        return SampledCohort(
            *(RowForces(few, one.force[:size], one.bend[:, :size]) for one in (self.of_loss, self.of_control))
        )

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
