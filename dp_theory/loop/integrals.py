"""Moments of rows by quadrature over the score t (T2.11), where the rule, the weight or flips are functions of it."""

import numpy as np

from dp_theory.loop.groups import PlacedRows, SelectedRows, observed_labels, softness
from dp_theory.numerics.checks import Array, Float
from dp_theory.numerics.quadrature import panels, pdf, refined

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


def moments_by_nodes(placed: PlacedRows, order: int) -> tuple[Float[Array, " J"], Float[Array, "J 3 3"]]:
    """The J distinct weights of the kept rows, and E[(y, t, ζ)(y, t, ζ)ᵀ; weight] per candidate."""
    t, measure, labels = score_nodes(placed, order)
    keep, weight = select_both(placed.rows, t)
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
    t, weights = panels(panel_edges(placed, order), order)
    return t, weights * pdf(t), observed_labels(placed.flip, placed.slope * t, placed.kappa)


def panel_edges(placed: PlacedRows, order: int) -> Float[Array, " edges"]:
    """Panels on which keep or weight is a function are refined until `order` nodes resolve it."""
    slope, blur = placed.slope, placed.kappa
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
    keep, weight = select_both(placed.rows, t)
    return np.stack([keep, keep * weight, keep * weight / (1 + weight)]).reshape(-1, len(t))


def select_both(rows: SelectedRows, t: Array) -> tuple[Float[Array, "2 N"], Float[Array, "2 N"]]:
    """Keep probability and weight of rows with the labels 1 and -1."""
    keep, weight = zip(*(rows.select(t, np.full(t.shape, y)) for y in (1.0, -1.0)), strict=True)
    return np.stack(keep), np.stack(weight)
