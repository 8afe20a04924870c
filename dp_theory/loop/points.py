"""The kept rows of a cohort as weighted points of a randomised quasi-Monte Carlo rule, for losses other than the
square.

A point is a kind of row (true and observed label), a score t, ζ, and a normal for each stage that trains on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from dp_theory.loop.flips import BoundaryFlips
from dp_theory.loop.placed import Cohort, PlacedRows, panel_edges
from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import gauss, pdf

if TYPE_CHECKING:
    from jaxtyping import Float, Int

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

    def first(self, size: int) -> Points:
        share = len(self.y) / size
        return Points(
            self.cohort,
            self.y[:size],
            self.weight[:size],
            share * self.mass[:size],
            self.view[:size],
            self.normals[:size],
        )


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
        self._flip = placed.flip
        self._cosine = float(placed.axes.labeller[0])
        self._sine = placed.axes.kappa
        self._tau = self._cosine / max(self._sine, _TINY)
        if isinstance(placed.flip, BoundaryFlips):
            self._right = 1.0  # bounds of the chances that a label is right, and that it is wrong
            self._wrong = placed.flip.eps
        else:
            self._right = 1 - placed.flip
            self._wrong = placed.flip
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
        if not isinstance(self._flip, BoundaryFlips):
            return np.ones((1, 1))
        wrong = self._flip(self._cosine * t + self._sine * zeta)
        agrees = _TRUE_LABELS[kind] == _OBSERVED_LABELS[kind]
        return np.where(agrees, 1 - wrong, wrong / (self._wrong or 1.0))[:, None]

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
