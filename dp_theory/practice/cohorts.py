"""Rows that join the loop together, reduced to what its theory needs of them."""

from dataclasses import dataclass

import numpy as np

from dp_theory.numerics.checks import Array, require
from dp_theory.numerics.quadrature import panels, pdf, refined
from dp_theory.practice.practice_problem import Addition, MeasuredRows, RoundRows
from dp_theory.rules import Rule
from dp_theory.span.atoms import labelled
from dp_theory.span.flips import BoundaryFlips, Flips, observed_labels

_SCALES = [1e-8, 1e-6, 1e-4, 1e-2]  # of features at 0, the selector's boundary, that are looked for


@dataclass(frozen=True)
class Cohort:
    """Rows that joined together, as J atoms of equal weight: E[1, y(t, ζ), (t, ζ)(t, ζ)ᵀ; atom], in units of n.

    (t, ζ) is the selector's view of a row and the coordinate in the labeller's direction off it. selector: the
    stage that chose the rows, None for the plain ones; first, last: the stages first ≤ s < last train on them.
    """

    weight: Array  # (J,)
    mass: Array  # (J,)
    linear: Array  # (J, 2)
    second: Array  # (J, 2, 2)
    candidates: float
    selector: int | None
    first: int
    last: int
    error: float  # relative, of the moments, apart from that of nodes


def make_cohort(
    rows: RoundRows, flip: Flips, cosine: float, selector: int | None, first: int, last: int, order: int
) -> Cohort:
    """The rows of a round, chosen by a learner with cos(θ_k, Σ^½w_g) = cosine. Raises InputError if it keeps none."""
    if isinstance(rows, MeasuredRows):
        size, one = rows.kept, np.ones(1)
        linear, second = size * rows.linear[None], size * rows.second[None]
        return Cohort(one, size * one, linear, second, size, selector, first, last, 0.0)
    flip = rows.flips(flip)
    weight, mass, linear, second = weighted_moments(rows, flip, cosine, order)
    known = rows.keep if isinstance(rows.keep, Rule) and not by_nodes(rows, flip) else None
    errors = known.moments_with_errors(cosine)[1] if known else ()
    total = mass.sum()
    require("kept fraction", total, total > 0, f"be positive: {rows} keeps no row")
    size = rows.size(total)
    return Cohort(
        weight, size * mass, size * linear, size * second, size, selector, first, last, float(max(errors, default=0.0))
    )


def weighted_moments(addition: Addition, flip: Flips, cosine: float, order: int) -> tuple[Array, Array, Array, Array]:
    """Weight, mass, linear and second moments of the atoms per candidate, as in `Cohort`.

    One atom, from the rule's own moments, where it keeps rows of one weight; else one for each weight at the nodes.
    """
    if isinstance(addition.keep, Rule) and not isinstance(flip, BoundaryFlips) and not addition.by_nodes:
        p, gamma, beta, beta_tilde = (float(moment) for moment in addition.keep.moments(cosine))
        linear = (1 - 2 * flip) * np.array([[beta_tilde, beta]])
        return np.array([addition.weight]), np.array([p]), linear, np.array([[[gamma, 0.0], [0.0, p]]])
    t, measure, labels = nodes(cosine, flip, addition, order)
    keep, weights = addition.select(np.tile(t, 2), np.repeat([1.0, -1.0], len(t)))
    atoms = labelled(t[None], measure, labels, keep.reshape(2, -1), weights.reshape(2, -1), np.eye(2))
    t, zeta = atoms.t[0], atoms.zeta
    weight, at = np.unique(atoms.q, return_inverse=True)

    def total(moment: Array) -> Array:
        return np.asarray(np.bincount(at, moment, len(weight)), float)

    cross = total(t * zeta)
    linear = np.column_stack([total(atoms.y * t * atoms.mass), total(atoms.y * zeta)])
    second = np.array([[total(t * t * atoms.mass), cross], [cross, total(atoms.zeta2)]]).transpose(2, 0, 1)
    return weight, total(atoms.mass), linear, second


def by_nodes(rows: RoundRows, flip: Flips) -> bool:
    """Whether moments of the rows are integrated over nodes, rather than known."""
    return isinstance(rows, Addition) and (rows.by_nodes or isinstance(rows.flips(flip), BoundaryFlips))


def nodes(cosine: float, flip: Flips, addition: Addition, order: int) -> tuple[Array, Array, Array]:
    """Nodes t and weights, (N,) each, of G ~ N(0, 1), in the panels of `edges`, and E[1, ζ, ζ²; observed label | t]
    (2, 3, N) there."""
    t, weights = panels(edges(cosine, flip, addition, order), order)
    blur = float(np.sqrt((1 - cosine) * (1 + cosine)))
    return t, weights * pdf(t), observed_labels(flip, cosine * t, blur, order)


def edges(cosine: float, flip: Flips, addition: Addition, order: int) -> Array:
    """Edges of panels in t, cut at the addition's jumps and where labels change.

    Functions are refined where panels of this order do not resolve them. From ±10 on the density is below 1e-22.
    """
    blur = float(np.sqrt((1 - cosine) * (1 + cosine)))
    label = np.array([1, 3, 9]) * blur / max(abs(cosine), 0.1 * blur)
    cuts = [0, 1, 2, 3, 5, 7, 10, *np.abs(addition.jumps()), *label]
    if isinstance(flip, BoundaryFlips):
        cuts += flip.cuts(cosine, blur)
    if addition.by_nodes:
        cuts += _SCALES
    half = np.clip(cuts, 0, 10)
    cut = np.unique(np.append(-half, half))
    return refined(cut, lambda t: pdf(t) * _seen(addition, t), order) if addition.by_nodes else cut


def _seen(addition: Addition, t: Array) -> Array:
    """What a learner notices of an addition at t (N,), for either label: (functions, N)."""
    keep, weight = addition.select(np.tile(t, 2), np.repeat([1.0, -1.0], len(t)))
    return np.stack([keep, keep * weight, keep * weight / (1 + weight)]).reshape(-1, len(t))
