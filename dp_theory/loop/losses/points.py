"""The kept rows of a cohort as weighted points of a randomised quasi-Monte Carlo rule, for losses other than the
square.

A point is a kind of row (true and observed label), a score t, ζ, and a normal for each stage that trains on the rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dp_theory.loop.groups import BoundaryFlips, chance_of_flip
from dp_theory.loop.integrals import panel_edges
from dp_theory.loop.square import Cohort
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
    are what each stage adds to the noise of (T3.15).
    """

    cohort: Cohort
    y: Float[Array, " points"]
    weight: Float[Array, " points"]
    mass: Float[Array, "points functions"]
    view: Float[Array, "points K"]
    normals: Float[Array, "points b"]


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
    return Points(cohort, y, weight, cohort.mass.sum() * mass / mass.sum(axis=0), view, normals)


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
