"""Kept rows by their weights: all that the equations need of them.

A row has two coordinates: its score t along the direction that the rule sees, and ζ, the labeller's own. A rule that
sees nothing is shown its labeller's score.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from dp_theory.loop.groups import BoundaryFlips, Flips, MeasuredRows, observed_labels, softness
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import panels, pdf, refined
from dp_theory.rules import KeepAll, Rule

# An angle between labeller and selector of which the cosine, which closed forms take, has lost digits.
_LOST = 1e-3
# A labeller with a smaller part off the directions lies in their span.
IN_THE_SPAN = 1e-14

# Edges of |t| between which panels resolve the density; beyond, it is below 1e-22.
_DENSITY_EDGES = (0, 1, 2, 3, 5, 7, 10)
# Beyond the farthest jump, in units of the density's length there.
_TAIL_EDGES = np.array([1, 3, 9, 27])
# Edges around the labeller's boundary, in units of the width of its step in t.
_LABEL_EDGES = np.array([1, 3, 9])
# |t| of features of functions at the selector's boundary that are looked for.
_SMALL_SCALES = (1e-8, 1e-6, 1e-4, 1e-2)
# The labeller's slope along t over its own part below which labels are smooth in t.
_MIN_SLOPE = 0.1


@dataclass(frozen=True, eq=False)
class PlacedRows:
    """Rows with a scalar rule, in the coordinates of the span."""

    rows: Any  # Group or Addition
    flip: Flips
    labeller: Float[Array, " k"]  # unit vectors
    along: Float[Array, " k"]

    @property
    def needs_quadrature(self) -> bool:
        nearly_one = isinstance(self.rows.keep, Rule) and IN_THE_SPAN < self.axes.kappa < _LOST
        with_rule = self.rows.has_functions or isinstance(self.flip, BoundaryFlips) or nearly_one
        return not isinstance(self.rows, MeasuredRows) and with_rule

    @cached_property
    def axes(self) -> "Axes":
        return Axes.of(self.labeller, self.along)

    def selected(self, t: Array) -> tuple[Float[Array, "2 N"], Float[Array, "2 N"]]:
        """Keep probability and weight of rows with the labels 1 and -1."""
        keep, weight = zip(*(self.rows.select(t, np.full(t.shape, y)) for y in (1.0, -1.0)), strict=True)
        return np.stack(keep), np.stack(weight)


class Axes(NamedTuple):
    """The coordinates t and ζ: the labeller's margin is slope·t + kappa·ζ."""

    frame: Float[Array, "k 2"]  # the coordinates' directions; that of ζ is 0 where the labeller has none of its own
    slope: float
    kappa: float

    @classmethod
    def of(cls, labeller: Float[Array, " k"], along: Float[Array, " k"]) -> "Axes":
        along = along / np.linalg.norm(along)
        slope = float(labeller @ along)
        rest = labeller - slope * along
        rest = rest - (rest @ along) * along  # again: if the labeller nearly lies along it, the first left eps/kappa
        kappa = float(np.linalg.norm(rest))
        own = rest / kappa if kappa > IN_THE_SPAN else 0 * rest
        return cls(np.column_stack([along, own]), slope, kappa)


def kept_moments(placed: PlacedRows, order: int) -> tuple[Float[Array, " J"], Float[Array, "J 3 3"], float]:
    """The J distinct weights of the kept rows, E[(y, t, ζ)(y, t, ζ)ᵀ; weight] per candidate, and its error.

    Quadrature of this order stands in where no closed form is known.
    """
    rows, flip = placed.rows, placed.flip
    if isinstance(rows, MeasuredRows):
        moments = np.column_stack([np.append(1.0, rows.linear), np.vstack([rows.linear, rows.second])])
        return np.ones(1), moments[None], 0.0
    if placed.needs_quadrature:
        return *_by_nodes(placed, order), 0.0
    assert not isinstance(flip, BoundaryFlips), "these are integrated"
    rule, share = (rows.keep, 1.0) if isinstance(rows.keep, Rule) else (KeepAll(), rows.keep)
    of_rule, errors = rule.moments_with_errors(float(np.clip(placed.axes.slope, -1, 1)))
    p, gamma, beta, beta_tilde = share * (rows.weight > 0) * np.array(of_rule)
    along, own = (1 - 2 * float(flip)) * np.array([beta_tilde, beta])
    moments = np.array([[[p, along, own], [along, gamma, 0], [own, 0, p]]])
    return np.array([rows.weight or 1.0], float), moments, float(max(errors))  # if none is kept, any weight will do


def _by_nodes(placed: PlacedRows, order: int) -> tuple[Float[Array, " J"], Float[Array, "J 3 3"]]:
    t, measure, labels = score_nodes(placed, order)
    keep, weight = placed.selected(t)
    mass, zeta, zeta2 = (measure * keep * part for part in labels.swapaxes(0, 1))
    used = (mass > 0) & (weight > 0)
    y = np.array([[1.0], [-1.0]])
    sums = np.stack([mass, y * t * mass, y * zeta, t * t * mass, t * zeta, zeta2])[:, used]
    distinct, at = np.unique(weight[used], return_inverse=True)
    sums = np.array([np.bincount(at, row, len(distinct)) for row in sums], float)
    return distinct, np.moveaxis(sums[[[0, 1, 2], [1, 3, 4], [2, 4, 5]]], -1, 0)


# -- nodes of one score -----------------------------------------------------------------------------------------------


def score_nodes(
    placed: PlacedRows, order: int
) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"], Float[Array, "2 3 nodes"]]:
    """Nodes of t, their weights, and E[1, ζ, ζ²; observed label is y | t] for y = 1 and y = -1."""
    axes = placed.axes
    t, weights = panels(panel_edges(placed, order), order)
    return t, weights * pdf(t), observed_labels(placed.flip, axes.slope * t, axes.kappa)


def panel_edges(placed: PlacedRows, order: int) -> Float[Array, " edges"]:
    """Panels on which keep or weight is a function are refined until `order` nodes resolve it."""
    slope, blur = placed.axes.slope, placed.axes.kappa
    jumps = list(map(abs, placed.rows.jumps()))
    farthest = max(jumps, default=0.0)
    cuts: list[float] = [*_DENSITY_EDGES, *jumps]
    if farthest > _DENSITY_EDGES[-3]:
        cuts += (farthest + _TAIL_EDGES / farthest).tolist()
    for width in (blur, softness(placed.flip, blur)):
        cuts += (_LABEL_EDGES * width / max(abs(slope), _MIN_SLOPE * width)).tolist()
    functions = placed.rows.has_functions
    if functions:
        cuts += _SMALL_SCALES
    half = np.clip(cuts, 0, max(_DENSITY_EDGES[-1], farthest + _TAIL_EDGES[-1] / max(farthest, 1.0)))
    edges = np.unique(np.append(-half, half))
    return refined(edges, lambda t: pdf(t) * _integrands(placed, t), order) if functions else edges


def _integrands(placed: PlacedRows, t: Array) -> Array:
    keep, weight = placed.selected(t)
    return np.stack([keep, keep * weight, keep * weight / (1 + weight)]).reshape(-1, len(t))


# -- cohorts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cohort:
    """The rows of one round in units of n, which train the stages first ≤ s < last; `selector` chose them.

    Kept are rows of J distinct weights. `moments` are E[(y, x)(y, x)ᵀ; weight] with x = (t, ζ, …) in `frame`, and
    `error` their relative error. `slopes` are B of (T3.16) at the stages so far, for each weight.
    """

    placed: PlacedRows
    weight: Float[Array, " J"]
    moments: Float[Array, "J grown grown"]
    frame: Float[Array, "k k"]
    error: float
    candidates: float
    selector: int | None
    first: int
    last: int
    slopes: Float[Array, "J b b"]

    @classmethod
    def of(cls, placed: PlacedRows, order: int, first: int, last: int) -> "Cohort":
        weight, moments, error = kept_moments(placed, order)
        size = placed.rows.candidates_at(float(moments[:, 0, 0].sum()))
        # without the labeller's own coordinate where it has none, and with all others
        frame = placed.axes.frame[:, : 1 + placed.axes.frame[:, 1].any()]
        k, columns = frame.shape
        of_all, known = moments[:, :1, :1] * np.eye(k + 1), slice(columns + 1)
        of_all[:, known, known] = moments[:, known, known]
        others = np.linalg.qr(frame, mode="complete")[0][:, columns:]
        frame, none = np.column_stack([frame, others]), np.zeros((len(weight), 0, 0))
        selector = first - 1 if first else None
        return cls(placed, weight, size * of_all, frame, error, size, selector, first, last, none)

    @property
    def mass(self) -> Float[Array, " J"]:
        return self.moments[:, 0, 0]
