"""Rows that join the loop together, reduced to what its theory needs of them."""

from dataclasses import dataclass

import numpy as np

from dp_theory.checks import Array, require
from dp_theory.practice.problem import Addition, MeasuredRows, RoundRows
from dp_theory.quadrature import panels, pdf
from dp_theory.rules import Rule
from dp_theory.span.atoms import labelled


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
    rows: RoundRows, flip: float, cosine: float, selector: int | None, first: int, last: int, order: int
) -> Cohort:
    """The rows of a round, chosen by a learner with cos(θ_k, Σ^½w_g) = cosine. Raises InputError if it keeps none."""
    if isinstance(rows, MeasuredRows):
        size, one = rows.kept, np.ones(1)
        linear, second = size * rows.linear[None], size * rows.second[None]
        return Cohort(one, size * one, linear, second, size, selector, first, last, 0.0)
    weight, mass, linear, second = weighted_moments(rows, flip, cosine, order)
    known = isinstance(rows.keep, Rule) and not rows.by_nodes
    errors = rows.keep.moments_with_errors(cosine)[1] if known and isinstance(rows.keep, Rule) else ()
    total = mass.sum()
    require("kept fraction", total, total > 0, f"be positive: {rows} keeps no row")
    size = rows.size(total)
    return Cohort(
        weight, size * mass, size * linear, size * second, size, selector, first, last, float(max(errors, default=0.0))
    )


def weighted_moments(addition: Addition, flip: float, cosine: float, order: int) -> tuple[Array, Array, Array, Array]:
    """Weight, mass, linear and second moments of the atoms per candidate, as in `Cohort`.

    One atom, from the rule's own moments, where it keeps rows of one weight; else one for each weight at the nodes.
    """
    if not addition.by_nodes and isinstance(addition.keep, Rule):
        p, gamma, beta, beta_tilde = (float(moment) for moment in addition.keep.moments(cosine))
        linear = (1 - 2 * flip) * np.array([[beta_tilde, beta]])
        return np.array([addition.weight]), np.array([p]), linear, np.array([[[gamma, 0.0], [0.0, p]]])
    tau = cosine / max(np.sqrt((1 - cosine) * (1 + cosine)), 1e-300)
    t, measure = positive_nodes(tau, addition, order)
    atoms = labelled(t[None], measure, tau * t, flip, lambda t, y: addition.select(t[0], y), np.eye(2))
    t, zeta = atoms.t[0], atoms.zeta
    weight, at = np.unique(atoms.q, return_inverse=True)

    def total(moment: Array) -> Array:
        return np.asarray(np.bincount(at, moment, len(weight)), float)

    cross = total(t * zeta)
    linear = np.column_stack([total(atoms.y * t * atoms.mass), total(atoms.y * zeta)])
    second = np.array([[total(t * t * atoms.mass), cross], [cross, total(atoms.zeta2)]]).transpose(2, 0, 1)
    return weight, total(atoms.mass), linear, second


def positive_nodes(tau: float, addition: Addition, order: int) -> tuple[Array, Array]:
    """Nodes t > 0 and weights, (N,) each, of |G|, G ~ N(0, 1), cut at the addition's jumps and on the label's scale.

    That scale is 1/tau. t < 0 needs no nodes: q(-t, -y) = q(t, y).
    """
    label = np.array([1, 3, 9]) / max(abs(tau), 0.1)
    t, weights = panels(np.unique(np.clip([0, 1, 2, 3, 5, 7, 10, *addition.jumps(), *label], 0, 10)), order)
    return t, weights * 2 * pdf(t)
