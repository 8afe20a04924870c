"""The span recipe over rows as they are: any law of scores and labels in the plane, rows of any length off it (ours).

Rows are x = Σ^½z with z = (t, ζ) in the plane of selector and truth, and √s·N(0, I) off it. With g = (t, ζ), E over
kept rows, n of them, φ = d/n and λ per kept row, the recipe of dp_theory.span.square becomes

    t̃ = E[s/(1 + sδ)],  δ = (1/n) tr Σ(t̃Σ + λ)^-1                                                             (1)
    A = E[ggᵀ/(1 + sδ)],  c = E[yg/(1 + sδ)],  a = (K^-1 + A − t̃)^-1 c                                         (2)
    σ² = (leak + D₂ E[s(y − g·a)²/(1 + sδ)²])/(1 − D₂ E[s²/(1 + sδ)²])                                         (3)

with K, D₂ and leak as in dp_theory.span.bulk. For s = 1 and normal (t, ζ) it is that recipe. The test error is that of
rows as they are, with g of all rows, kept or not:

    P(y (g·a + √s σN) < 0),  N ~ N(0, 1)                                                                      (4)

A `blur` is the variance, over s, of normal noise that is in the measured ζ and is none of the rows'. It adds t̃·blur to
A and blur·a² to (y − g·a)², which is taken away again. In (4) it is in the measured g·a, so that σ² is less by blur·a².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import panels, pdf
from dp_theory.rules import Rule
from dp_theory.span import Group, SpanProblem
from dp_theory.span.bulk import Bulk, solve_delta
from dp_theory.validity.view import FeatureView

if TYPE_CHECKING:
    from jaxtyping import Float

NODES = 16  # of an integral over ζ ~ N(0, 1), on either side of the label's jump
END = 9.0  # of that integral
SHORTEST = 0.02  # squared length s of a row
MOST_SCORES = 4096  # of t, where each has NODES of ζ
MOST_OF_EITHER = 360  # of t and of ζ, where each of t has all of ζ
_LEAST_VARIANCE = 1e-12  # of the score off the plane, over that before the blur is taken away


@dataclass(frozen=True, eq=False)
class RowLaw:
    """The joint law of (t, ζ, y, s), as weighted atoms.

    Attributes
    ----------
    mass
        Probability of each atom.
    plane
        t, and ζ unless selector and truth are one direction.
    y
        Labels, 1 and -1.
    length
        s, or a single number for all atoms.
    basis
        The directions of `plane`.
    blur
        The variance, over s, of the normal noise in each row of `plane` that is none of the rows'.
    """

    mass: Float[np.ndarray, " atoms"]
    plane: Float[np.ndarray, "k atoms"]
    y: Float[np.ndarray, " atoms"]
    length: Float[np.ndarray, " lengths"]
    basis: Float[np.ndarray, "d k"]
    blur: Float[np.ndarray, " k"]


# -- laws: each takes one thing more from the rows than the one before, and the rest from the Gaussian theory


def measured_selector(view: FeatureView) -> RowLaw:
    """The measured law of t. ζ is N(0, 1) whatever t, labels are the truth's with uniform flips, and s = 1."""
    t = _thinned(view.plane[0], MOST_SCORES)
    if len(view.plane) == 1:
        is_positive = (view.rho * t > 0).astype(float)
        return _with_labels(view, _equal_masses(len(t)), t[None], is_positive, np.zeros(1))
    sine = np.sqrt(1 - view.rho**2)
    end = np.full(len(t), END)
    jump = np.clip(-view.rho * t / sine, -END, END)  # the ζ at which g changes its sign
    zeta, weight = panels(np.stack([-end, jump, end], axis=-1), NODES)
    plane = np.stack([np.repeat(t, zeta.shape[1]), zeta.ravel()])
    mass = (weight * pdf(zeta)).ravel()
    is_positive = (view.truth @ plane > 0).astype(float)
    return _with_labels(view, mass / mass.sum(), plane, is_positive, np.zeros(2))


def measured_margins(view: FeatureView) -> RowLaw:
    """The measured laws of t and of ζ, independent of each other. Labels are the truth's with uniform flips, s = 1."""
    if len(view.plane) == 1:
        return measured_selector(view)
    t = _thinned(view.plane[0], MOST_OF_EITHER)
    zeta = _thinned(view.plane[1], MOST_OF_EITHER)
    plane = np.stack([np.repeat(t, len(zeta)), np.tile(zeta, len(t))])
    return _with_labels(view, _equal_masses(plane.shape[1]), plane, _positive(view, view.truth @ plane), view.blur)


def measured_plane(view: FeatureView) -> RowLaw:
    """The measured law of (t, ζ). Labels are the truth's with uniform flips, and s = 1."""
    plane = view.plane
    return _with_labels(view, _equal_masses(plane.shape[1]), plane, _positive(view, view.truth @ plane), view.blur)


def measured_labels(view: FeatureView) -> RowLaw:
    """The measured law of (t, ζ, y). s = 1."""
    return RowLaw(_equal_masses(len(view.y)), view.plane, view.y, np.ones(1), view.basis, view.blur)


def measured_lengths(view: FeatureView) -> RowLaw:
    """The measured law of (t, ζ, y, s), less the scatter of s that normal rows have in d directions."""
    s = view.lengths
    dimension = view.dimension - len(view.plane)
    of_normal_rows = 2 / dimension / (1 - dimension / len(s))  # relative variance of h/(1 − h)
    own = np.sqrt(max(0.0, 1 - of_normal_rows / s.var())) if s.var() > 0 else 0.0
    return replace(measured_labels(view), length=np.maximum(1 + own * (s - 1), SHORTEST))


MEASURED_LAWS = {
    "selector": measured_selector,
    "margins": measured_margins,
    "plane": measured_plane,
    "labels": measured_labels,
    "lengths": measured_lengths,
}


def _equal_masses(atoms: int) -> Array:
    return np.full(atoms, 1 / atoms)


def _thinned(scores: Array, most: int) -> Array:
    """Quantiles of scores, at most that many, with the mean and the variance of the scores."""
    ordered = np.sort(scores)
    if len(ordered) <= most:
        return ordered
    thin = ordered[((np.arange(most) + 0.5) * len(ordered) / most).astype(int)]
    return (thin - thin.mean()) / thin.std() * ordered.std() + ordered.mean()


def _positive(view: FeatureView, measured: Array) -> Array:
    """P(g > 0) of rows, where the truth's score is measured with a blur.

    Then g is N(measured·cos²γ, sin²γ), as it is for normal rows.
    """
    if not view.tangent or len(view.plane) == 1:
        return (measured > 0).astype(float)
    return np.asarray(ndtr(measured / np.sqrt(1 + view.tangent**2) / view.tangent))


def _with_labels(view: FeatureView, mass: Array, plane: Array, positive: Array, blur: Array) -> RowLaw:
    """Atoms with either label, whose true label is 1 with probability `positive` (atoms,), with uniform flips."""
    up = view.flips + (1 - 2 * view.flips) * positive
    masses = np.concatenate([mass * up, mass * (1 - up)])
    y = np.repeat([1.0, -1.0], len(mass))
    return RowLaw(masses, np.tile(plane, 2), y, np.ones(1), view.basis, blur)


# -- the recipe


def predicted_error(view: FeatureView, law: RowLaw, rule: Rule, kept: float, lam: float) -> float:
    """The test error (4) of ridge regression on rows of a law that a rule keeps.

    Parameters
    ----------
    view
        The covariance of the rows.
    law
        The law of (t, ζ, y, s).
    rule
        Says with what probability a row is kept, by its t.
    kept
        Number of kept rows.
    lam
        Ridge per kept row.

    Returns
    -------
    float
        1/2 where the rule keeps no row.
    """
    q = law.mass * np.asarray(rule.keep_probability(law.plane[0]), float)
    if not q.sum() > 0:
        return 0.5
    q = q / q.sum()
    y = law.y
    s = law.length
    phi = view.dimension / kept
    directions = law.basis.T / np.sqrt(view.spectrum)
    problem = SpanProblem(directions[0], [Group(along=directions)], phi, lam, view.spectrum)

    masses = q if len(s) > 1 else np.ones(1)  # of the lengths
    delta, _ = solve_delta(view.spectrum, phi, lam, lambda delta: float(masses @ (s / (1 + s * delta))))  # (1)
    soft = q / (1 + s * delta)
    curvature = float((soft * s).sum())  # t̃
    bulk = Bulk.of(problem, curvature, phi, lam)

    turn = problem.basis.T @ law.basis  # (k, k), from t and ζ to the problem's own basis of the plane
    measured = (soft * law.plane) @ law.plane.T
    second = turn @ (measured - curvature * np.diag(law.blur)) @ turn.T  # A
    pull = turn @ (law.plane @ (soft * y))  # c
    a = np.linalg.solve(bulk.shrink + bulk.inside @ second, bulk.inside @ pull)  # (2), times K

    along = turn.T @ a  # a in t and ζ
    seen = along @ law.plane  # g·a, with the blur
    noise = soft * s / (1 + s * delta)
    own_noise = float((noise * s).sum())
    blurred = float(law.blur @ along**2)
    misfit = float(noise @ (y - seen) ** 2) - blurred * own_noise
    variance = (bulk.leak(a) + bulk.spread * misfit) / (1 - bulk.spread * own_noise)  # (3)
    scatter = np.sqrt(s * max(variance - blurred, _LEAST_VARIANCE * variance))
    return float(law.mass @ ndtr(-y * seen / scatter))  # (4)
