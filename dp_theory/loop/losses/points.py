"""The kept rows of a cohort as weighted points of a randomised quasi-Monte Carlo rule, and the means of their forces:
(T4.6) to (T4.8) of docs/theory/practice.md.

A point is a kind of row (true and observed label), a score t, ζ, and a normal for each stage that trains on the rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dp_theory.loop.groups import BoundaryFlips, chance_of_flip
from dp_theory.loop.integrals import panel_edges
from dp_theory.loop.losses.loss import Loss
from dp_theory.loop.square import Cohort, Newest, OrderParameters
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import pdf

# Points are drawn from wider normals than the rows have, and weighted accordingly: forces grow in the tails.
# Standard deviation from which t is drawn.
_SCORE_WIDTH = 1.4
# Standard deviations of the first normals; those of the others are 1.
_NORMAL_WIDTHS = (1.4, 1.15)

# Nodes that resolve the density of kept rows on a panel.
_PANEL_ORDER = 16
# Parts of a panel: on each the density of kept rows is nearly even.
_PARTS = 128
# Distance of uniform points from 0 and 1, where normal quantiles are infinite.
_INSIDE = 1e-12
# It stands for a 0 in a denominator or a logarithm.
_TINY = 1e-300

# The true labels of the four kinds of rows; the last two kinds have a wrong label.
_TRUE_LABELS = np.array([1.0, -1.0, 1.0, -1.0])
_OBSERVED_LABELS = np.array([1.0, -1.0, -1.0, 1.0])


class Points(NamedTuple):
    """N weighted points for the kept rows of a cohort, which b stages train on.

    Column j of `mass`, in units of n, is for functions F of y, view and the first j normals: E[F] = Σ mass·F. `normals`
    are what each stage adds to the noise of (T3.15). `force` and `bend` are f_s and -df_s/du_s on the stages so far.
    """

    cohort: Cohort
    y: Float[Array, " points"]
    weight: Float[Array, " points"]
    mass: Float[Array, "points functions"]
    view: Float[Array, "points K"]
    normals: Float[Array, "points b"]
    force: Float[Array, "points solved"]
    bend: Float[Array, "solved points"]

    def scores(self, orders: OrderParameters) -> Array:
        """u_s (T4.6)."""
        view, noise, _ = self.cohort.scores(orders)
        factor = np.linalg.cholesky(noise)[-1]
        eta = self.view @ view[-1] + self.normals[:, : len(factor)] @ factor
        return eta + self.force @ orders.x[-1, self.cohort.first : -1]

    def slopes(self, x: Float[Array, "b b"]) -> Float[Array, "solved points"]:
        """-du_s/dη_j at the newest stage, for j < s (T4.7)."""
        slopes = np.zeros_like(self.bend)
        for j in reversed(range(len(slopes))):
            slopes[j] = self.bend[j] * (x[-1, j] - x[j + 1 : -1, j] @ slopes[j + 1 :])
        return slopes

    def means(self, orders: OrderParameters, loss: Loss, start: Array | None) -> tuple[Newest, Array]:
        """(T4.8), and the forces; `start` are such forces nearby."""
        first, k = self.cohort.first, self.cohort.selector
        mass = self.mass[:, self.force.shape[1] + 1]
        force, bend = loss.answer(self.scores(orders), self.y, self.weight, orders.x[-1, -1], start)
        of_rows, of_bends = mass * force, mass * bend
        by_view = self.cohort.frame @ (of_rows @ self.view)
        slope = np.append(-self.slopes(orders.x[first:, first:]) @ of_bends, of_bends.sum())
        ff, gamma = np.zeros((2, len(orders.a)))
        ff[first:], gamma[first:] = np.append(of_rows @ self.force, mass @ force**2), slope
        if k is not None:
            shared = orders.c[first:, k] / np.sqrt(orders.c[k, k])
            gamma[k] -= (by_view[-1] + slope @ shared) / np.sqrt(orders.c[k, k])
        return np.concatenate([by_view[: orders.a.shape[1]], ff, gamma]), force

    def grown(self, orders: OrderParameters, loss: Loss) -> "Points":
        """With their forces on the newest stage."""
        force, bend = loss.answer(self.scores(orders), self.y, self.weight, orders.x[-1, -1])
        return self._replace(force=np.column_stack([self.force, force]), bend=np.vstack([self.bend, bend]))


def draw_points(cohort: Cohort, size: int, rng: np.random.Generator) -> Points:
    """Scrambled Sobol points. The first coordinate decides kind and t, so that a narrow window takes no more points."""
    from scipy.stats import qmc  # which takes long to import

    placed = cohort.placed
    flip, cosine, sine = placed.flip, placed.slope, placed.kappa
    tau = cosine / max(sine, _TINY)
    # bounds of the chances that a label is right, and that it is wrong
    right, wrong = (1.0, flip.eps) if isinstance(flip, BoundaryFlips) else (1 - flip, flip)
    bounds = np.array([right, right, wrong, wrong])

    def density(t: Array, kind: np.ndarray) -> Array:
        """Of kept rows for t from the wider normal, with the bounds of flips."""
        keep, weight = placed.rows.select(t, _OBSERVED_LABELS[kind])
        chance = bounds[kind] * ndtr(np.clip(_TRUE_LABELS[kind] * tau * t, -40, 40))
        return keep * (weight > 0) * chance * pdf(t / _SCORE_WIDTH)

    uniform = qmc.Sobol(2 + cohort.last - cohort.first, rng=rng).random(size)
    uniform = np.clip(uniform, _INSIDE, 1 - _INSIDE)
    kind, t, share = _drawn(uniform[:, 0], density, panel_edges(placed, _PANEL_ORDER), 4 if wrong else 2)
    true = _TRUE_LABELS[kind]  # the sign of cosine·t + sine·ζ
    chance = ndtr(np.clip(true * tau * t, -37, 40))
    zeta = -true * ndtri(np.maximum(uniform[:, 1] * chance, _TINY))
    normals = ndtri(uniform[:, 2:])
    widths = np.append(_NORMAL_WIDTHS, np.ones(normals.shape[1]))[: normals.shape[1]]
    normals *= widths
    # -ln of the density of N(0, 1) over that of N(0, width²), up to a constant, for t and the first normals
    of_normals = np.pad(np.cumsum((1 - widths**-2) / 2 * normals**2, axis=1), ((0, 0), (1, 0)))
    excess = of_normals + (1 - _SCORE_WIDTH**-2) / 2 * t[:, None] ** 2
    flipped = chance_of_flip(flip, cosine * t + sine * zeta)
    of_label = np.where(kind < 2, (1 - flipped) / (right or 1.0), flipped / (wrong or 1.0))
    mass = np.exp(-excess) * (share * of_label)[:, None]
    y = _OBSERVED_LABELS[kind]
    weight = placed.rows.select(t, y)[1]
    view = np.column_stack([t, zeta])[:, : len(cohort.frame)]
    mass, none = cohort.mass.sum() * mass / mass.sum(axis=0), np.zeros((size, 0))
    return Points(cohort, y, weight, mass, view, normals, none, none.T)


def _drawn(
    uniform: Array, density: Callable[[Array, np.ndarray], Array], edges: Array, kinds: int
) -> tuple[np.ndarray, Array, Array]:
    """The kind and t of each uniform number, and the density there over that of the draw, which is even on each part of
    a panel.
    """
    inner = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(_PARTS) / _PARTS
    cuts = np.append(inner.ravel(), edges[-1])
    # parts of t, for one kind after the other
    left, width = np.tile(cuts[:-1], kinds), np.tile(np.diff(cuts), kinds)
    kind = np.repeat(np.arange(kinds), len(cuts) - 1)
    level = density(left + width / 2, kind)
    below = np.append(0.0, np.cumsum(width * level))
    at = uniform * below[-1]
    part = np.searchsorted(below[1:-1], at, side="right")
    level, kind = level[part], kind[part]
    t = left[part] + (at - below[part]) / level
    return kind, t, density(t, kind) / level
