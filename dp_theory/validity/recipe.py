"""The span recipe over rows as they are: any law of scores and labels in the plane, rows of any length off it (ours).

Rows are x = Σ^½z with z = (t, ζ) in the plane of selector and truth, and √s·N(0, I) off it. With E over kept rows,
φ = d/kept and λ per kept row,

    t̃ = E[s/(1 + sδ)],  δ = (1/n) tr Σ(t̃Σ + λ)^-1,  A = E[ggᵀ/(1 + sδ)],  c = E[yg/(1 + sδ)],  g = (t, ζ)
    a = (K^-1 + A − t̃)^-1 c            σ² = (leak + D₂ E[s(y − g·a)²/(1 + sδ)²])/(1 − D₂ E[s²/(1 + sδ)²])

with K, D₂ and leak as in dp_theory.span.bulk. For s = 1 and normal (t, ζ) this is the recipe of dp_theory.span.square.
The test error is that of rows as they are, P(y(g·a + √s σN) < 0): g of all rows, kept or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import panels, pdf
from dp_theory.rules import Rule
from dp_theory.span import Group, SpanProblem
from dp_theory.span.bulk import Bulk, solve_delta
from dp_theory.validity.view import View

NODES, END = 16, 9.0  # of an integral over ζ ~ N(0, 1), on either side of the label's jump
LEAST = 0.02  # of s
MOST_SCORES, PER_SCORE = 4096, 360  # of t with nodes of ζ, and of either with all of the other


@dataclass(frozen=True, eq=False)
class Law:
    """The law of (t, ζ, y, s) as weighted atoms."""

    mass: Array  # (N,), of sum 1
    plane: Array  # (k, N)
    y: Array  # (N,)
    length: Array  # (N,): s, or (1,) for all
    basis: Array  # (d, k): the directions of `plane`
    blur: Array  # (k,): variances, over s, of normal noise in `plane` that is none of the rows'


def measured_selector(view: View) -> Law:
    """The measured law of t; ζ is N(0, 1) whatever t, labels are those of the truth with uniform flips, s = 1."""
    t = _thinned(view.plane[0], MOST_SCORES)
    if len(view.plane) == 1:
        return _labelled(view, np.full(len(t), 1 / len(t)), t[None], (view.rho * t > 0).astype(float), 0.0)
    sine = np.sqrt(1 - view.rho**2)
    ends, jump = np.full(len(t), END), np.clip(-view.rho * t / sine, -END, END)
    zeta, weight = panels(np.stack([-ends, jump, ends], axis=-1), NODES)
    plane = np.stack([np.repeat(t, zeta.shape[1]), zeta.ravel()])
    mass = (weight * pdf(zeta)).ravel()
    return _labelled(view, mass / mass.sum(), plane, (view.truth @ plane > 0).astype(float), 0.0)


def measured_margins(view: View) -> Law:
    """The measured laws of t and of ζ, independent of each other; labels are those of the truth with uniform flips."""
    if len(view.plane) == 1:
        return measured_selector(view)
    t, zeta = (_thinned(scores, PER_SCORE) for scores in view.plane)
    plane = np.stack([np.repeat(t, len(zeta)), np.tile(zeta, len(t))])
    return _labelled(view, np.full(plane.shape[1], 1 / plane.shape[1]), plane, _positive(view, view.truth @ plane), 1.0)


def measured_plane(view: View) -> Law:
    """The measured law of (t, ζ); labels are those of the truth with uniform flips, s = 1."""
    n = view.plane.shape[1]
    return _labelled(view, np.full(n, 1 / n), view.plane, _positive(view, view.truth @ view.plane), 1.0)


def measured_labels(view: View) -> Law:
    """The measured law of (t, ζ, y); s = 1."""
    n = len(view.y)
    return Law(np.full(n, 1 / n), view.plane, view.y, np.ones(1), view.basis, view.blur)


def measured_lengths(view: View) -> Law:
    """The measured law of (t, ζ, y, s), less the scatter of s that normal rows have in d directions."""
    s, dimension = view.lengths, view.dimension - len(view.plane)
    normal = 2 / dimension / (1 - dimension / len(s))  # relative variance of h/(1 − h) of normal rows
    own = np.sqrt(max(0.0, 1 - normal / s.var())) if s.var() > 0 else 0.0
    return replace(measured_labels(view), length=np.maximum(1 + own * (s - 1), LEAST))


LAWS = {  # each takes one thing more from the rows, and the rest from theory
    "selector": measured_selector,
    "margins": measured_margins,
    "plane": measured_plane,
    "labels": measured_labels,
    "lengths": measured_lengths,
}


def _thinned(scores: Array, most: int) -> Array:
    """Quantiles of scores, at most that many, with their mean and variance."""
    ordered = np.sort(scores)
    if len(ordered) <= most:
        return ordered
    thin = ordered[((np.arange(most) + 0.5) * len(ordered) / most).astype(int)]
    return (thin - thin.mean()) / thin.std() * ordered.std() + ordered.mean()


def _positive(view: View, g: Array) -> Array:
    """P(g > 0) of rows with g as it is read: with a blur, g is N(reading·cos²γ, sin²γ), as it is for normal rows."""
    if not view.tangent or len(view.plane) == 1:
        return (g > 0).astype(float)
    return np.asarray(ndtr(g / np.sqrt(1 + view.tangent**2) / view.tangent))


def _labelled(view: View, mass: Array, plane: Array, positive: Array, blurred: float) -> Law:
    """Both labels of every atom, where P(true label is 1) = positive (N,)."""
    up = view.flips + (1 - 2 * view.flips) * positive
    masses = np.concatenate([mass * up, mass * (1 - up)])
    y = np.repeat([1.0, -1.0], len(mass))
    return Law(masses, np.tile(plane, 2), y, np.ones(1), view.basis, blurred * view.blur)


def predicted_error(view: View, law: Law, rule: Rule, kept: float, lam: float) -> float:
    """P(error) of ridge regression on `kept` rows that the rule keeps of a law, lam per row; 1/2 where that is none."""
    q = law.mass * np.asarray(rule.keep_probability(law.plane[0]), float)
    if not q.sum() > 0:
        return 0.5
    q, s, y = q / q.sum(), law.length, law.y
    phi = view.dimension / kept
    special = law.basis.T / np.sqrt(view.spectrum)
    problem = SpanProblem(special[0], [Group(along=special)], phi, lam, view.spectrum)
    turn = problem.basis.T @ law.basis  # (k, k)
    share = q if len(s) > 1 else np.ones(1)
    delta, _ = solve_delta(view.spectrum, phi, lam, lambda delta: float(share @ (s / (1 + s * delta))))
    soft = q / (1 + s * delta)
    curvature = float((soft * s).sum())
    bulk = Bulk.of(problem, curvature, phi, lam)
    second = turn @ ((soft * law.plane) @ law.plane.T - curvature * np.diag(law.blur)) @ turn.T
    a = np.linalg.solve(bulk.shrink + bulk.inside @ second, bulk.inside @ (turn @ (law.plane @ (soft * y))))
    own = turn.T @ a  # in t and ζ
    seen = own @ law.plane
    spread, hidden = soft * s / (1 + s * delta), float(law.blur @ own**2)
    own_noise = float((spread * s).sum())
    misfit = float(spread @ (y - seen) ** 2) - hidden * own_noise
    variance = (bulk.leak(a) + bulk.spread * misfit) / (1 - bulk.spread * own_noise)
    scatter = np.sqrt(s * max(variance - hidden, 1e-12 * variance))
    return float(law.mass @ ndtr(-y * seen / scatter))
