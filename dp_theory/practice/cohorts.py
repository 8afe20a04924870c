"""Cohorts: the rows that join the loop together, reduced to the moments that its theory needs of them.

The learner that chose the rows of a round, the selector, sees a row's score t. ζ is its coordinate in the direction of
the labeller off the selector, whose cosine is ρ, so that the labeller's own score is g = ρt + √(1 − ρ²)ζ. Over plain
rows t and ζ are independent N(0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.numerics.checks import Array, require
from dp_theory.numerics.quadrature import panels, pdf, refined
from dp_theory.practice.additions import Addition, MeasuredRows, RoundRows
from dp_theory.rules import Rule
from dp_theory.span.atoms import Atoms, labelled
from dp_theory.span.flips import BoundaryFlips, Flips, observed_labels

if TYPE_CHECKING:
    from jaxtyping import Float

_REACH = 10  # largest |t| of a panel: the density of N(0, 1) is below 1e-22 there
_DENSITY_EDGES = (0, 1, 2, 3, 5, 7, _REACH)  # panels between these resolve the density
_LABEL_EDGES = np.array([1, 3, 9])  # edges around the labeller's boundary, in units of the width of its step in t
_SMALL_SCALES = (1e-8, 1e-6, 1e-4, 1e-2)  # |t| of features of functions at the selector's boundary that are looked for
_LEAST_SLOPE = 0.1  # of the cosine over its sine, below which labels are smooth in t


@dataclass(frozen=True)
class Cohort:
    """The rows of one round, in J classes of equal weight c in the training loss.

    `mass`, `linear` and `second` are sums over the rows of each class of 1, y·(t, ζ) and (t, ζ)(t, ζ)ᵀ, divided by n;
    `candidates` are in units of n. `selector` is the stage k that chose the rows, or None for plain rows: then t is the
    labeller's score. A stage s trains on the rows if first ≤ s < last. `error` bounds the relative error of the
    moments, apart from that of quadrature.
    """

    weight: Float[np.ndarray, " classes"]
    mass: Float[np.ndarray, " classes"]
    linear: Float[np.ndarray, "classes 2"]
    second: Float[np.ndarray, "classes 2 2"]
    candidates: float
    selector: int | None
    first: int
    last: int
    error: float

    def trains(self, stage: int) -> bool:
        return self.first <= stage < self.last


def make_cohort(
    rows: RoundRows, flip: Flips, cosine: float, selector: int | None, first: int, last: int, order: int
) -> Cohort:
    """The cohort of a round's rows; Gauss-Legendre panels have this order. Raises InputError if the rule keeps no row.

    `cosine` is that between the selector's θ_k and Σ^½w_g, 1 for plain rows.
    """
    if isinstance(rows, MeasuredRows):
        one = np.ones(1)
        linear = rows.kept * rows.linear[None]
        second = rows.kept * rows.second[None]
        return Cohort(one, rows.kept * one, linear, second, rows.kept, selector, first, last, 0.0)
    flip = rows.flips(flip)
    weight, mass, linear, second = weighted_moments(rows, flip, cosine, order)
    keep_fraction = mass.sum()
    require("kept fraction", keep_fraction, keep_fraction > 0, f"be positive: {rows} keeps no row")
    size = rows.candidates_at(keep_fraction)
    error = _moment_error(rows, flip, cosine)
    return Cohort(weight, size * mass, size * linear, size * second, size, selector, first, last, error)


def weighted_moments(
    addition: Addition, flip: Flips, cosine: float, order: int
) -> tuple[
    Float[np.ndarray, " classes"],
    Float[np.ndarray, " classes"],
    Float[np.ndarray, "classes 2"],
    Float[np.ndarray, "classes 2 2"],
]:
    """Weight, mass, linear and second moments per candidate, as in `Cohort`.

    A rule of one weight has one class, with the moments that it knows. Otherwise they are integrated over nodes in t,
    with a class for each weight.
    """
    keep = addition.keep
    if isinstance(keep, Rule) and not isinstance(flip, BoundaryFlips) and not addition.has_functions:
        p, gamma, beta, beta_tilde = (float(moment) for moment in keep.moments(cosine))
        linear = (1 - 2 * flip) * np.array([[beta_tilde, beta]])
        return np.array([addition.weight]), np.array([p]), linear, np.array([[[gamma, 0.0], [0.0, p]]])
    t, measure, labels = nodes(cosine, flip, addition, order)
    kept, weights = addition.select(*for_both_labels(t))
    atoms = labelled(t[None], measure, labels, kept.reshape(2, -1), weights.reshape(2, -1), np.eye(2))
    return _by_weight(atoms)


def _by_weight(atoms: Atoms) -> tuple[Array, Array, Array, Array]:
    t = atoms.t[0]
    weight, class_of_atom = np.unique(atoms.q, return_inverse=True)

    def total(moment: Array) -> Array:
        return np.asarray(np.bincount(class_of_atom, moment, len(weight)), float)

    linear = np.column_stack([total(atoms.y * t * atoms.mass), total(atoms.y * atoms.zeta)])
    cross = total(t * atoms.zeta)
    second = np.array([[total(t * t * atoms.mass), cross], [cross, total(atoms.zeta2)]])
    return weight, total(atoms.mass), linear, second.transpose(2, 0, 1)


def _moment_error(addition: Addition, flip: Flips, cosine: float) -> float:
    if not isinstance(addition.keep, Rule) or needs_quadrature(addition, flip):
        return 0.0
    return float(max(addition.keep.moments_with_errors(cosine)[1]))


def needs_quadrature(rows: RoundRows, flip: Flips) -> bool:
    """Whether the moments of rows are integrated over nodes in a problem with these flips, rather than known."""
    return isinstance(rows, Addition) and (rows.has_functions or isinstance(rows.flips(flip), BoundaryFlips))


def nodes(
    cosine: float, flip: Flips, addition: Addition, order: int
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"], Float[np.ndarray, "2 3 nodes"]]:
    """Nodes t, their weights for t ~ N(0, 1), and E[1, ζ, ζ²; observed label is y | t] for y = 1 and y = -1."""
    t, weights = panels(panel_edges(cosine, flip, addition, order), order)
    return t, weights * pdf(t), observed_labels(flip, cosine * t, sine(cosine), order)


def panel_edges(cosine: float, flip: Flips, addition: Addition, order: int) -> Float[np.ndarray, " edges"]:
    """Edges of panels in t, at the addition's jumps and around the places where labels change.

    Panels on which `keep` or `weight` is a function are refined until `order` nodes resolve it.
    """
    blur = sine(cosine)
    cuts: list[float] = [*_DENSITY_EDGES, *np.abs(addition.jumps())]
    cuts += (_LABEL_EDGES * blur / max(abs(cosine), _LEAST_SLOPE * blur)).tolist()
    if isinstance(flip, BoundaryFlips):
        cuts += flip.cuts(cosine, blur)
    if addition.has_functions:
        cuts += _SMALL_SCALES
    half = np.clip(cuts, 0, _REACH)
    edges = np.unique(np.append(-half, half))
    if not addition.has_functions:
        return edges
    return refined(edges, lambda t: pdf(t) * _integrands(addition, t), order)


def sine(cosine: float) -> float:
    """√(1 − cosine²), without cancellation."""
    return float(np.sqrt((1 - cosine) * (1 + cosine)))


def for_both_labels(t: Float[np.ndarray, " nodes"]) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Scores and labels (2·nodes,): every score with the label 1, then every score with the label -1."""
    return np.tile(t, 2), np.repeat([1.0, -1.0], len(t))


def _integrands(addition: Addition, t: Array) -> Array:
    keep, weight = addition.select(*for_both_labels(t))
    return np.stack([keep, keep * weight, keep * weight / (1 + weight)]).reshape(-1, len(t))
