"""Rows that join together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dp_theory.checks import require
from dp_theory.practice.problem import Addition, MeasuredRows, RoundRows
from dp_theory.rules import Rule

ORDER = 16  # of the Gauss-Legendre panels


@dataclass(frozen=True)
class Cohort:
    """Rows that joined together, as atoms of equal weight: E[1, y(t, ζ), (t, ζ)(t, ζ)ᵀ; atom], in units of n.

    (t, ζ) is the selector's view of a row and the coordinate in the labeller's direction off it. selector: the
    stage that chose the rows, None for the plain ones; first, last: the stages first ≤ s < last train on them.
    """

    weight: np.ndarray  # (J,)
    mass: np.ndarray  # (J,)
    linear: np.ndarray  # (J, 2)
    second: np.ndarray  # (J, 2, 2)
    candidates: float
    selector: int | None
    first: int
    last: int


def cohort(addition: RoundRows, flip: float, cosine: float, selector: int | None, first: int, last: int) -> Cohort:
    """The rows of an addition, chosen by a learner with cos(θ_k, Σ^½w_g) = cosine."""
    if isinstance(addition, MeasuredRows):
        size, one = addition.kept, np.ones(1)
        linear, second = size * addition.linear[None], size * addition.second[None]
        return Cohort(one, size * one, linear, second, size, selector, first, last)
    weight, mass, linear, second = atoms(addition, flip, cosine)
    total = mass.sum()
    require("kept fraction", total, total > 0, f"be positive: {addition} keeps no row")
    size = addition.size(total)
    return Cohort(weight, size * mass, size * linear, size * second, size, selector, first, last)


def atoms(addition: Addition, flip: float, cosine: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weight and moments of the atoms per candidate: one atom by Lemmas 1 and 2 where a plain rule keeps rows of
    one weight, else one for each node in t > 0 and label; q(-t, -y) = q(t, y) accounts for t < 0.
    """
    if isinstance(addition.keep, Rule) and not callable(addition.weight):
        p, gamma, beta, beta_tilde = (float(moment) for moment in addition.keep.moments(cosine))
        linear = (1 - 2 * flip) * np.array([[beta_tilde, beta]])
        return np.array([addition.weight]), np.array([p]), linear, np.array([[[gamma, 0.0], [0.0, p]]])
    sine = np.sqrt((1 - cosine) * (1 + cosine))
    t, measure = nodes(cosine / max(sine, 1e-300), addition.jumps)
    margin = np.clip(cosine * t / max(sine, 1e-300), -40, 40)  # the density is 0 beyond, in double precision
    density = np.exp(-(margin**2) / 2) / np.sqrt(2 * np.pi)
    true, false = (  # E[1, ζ, ζ²; y0 = s | t]
        np.array([ndtr(s * margin), s * density, ndtr(s * margin) - s * margin * density]) for s in (1, -1)
    )
    given = np.tile(measure, 2) * np.concatenate(
        [true + flip * (false - true), false + flip * (true - false)], axis=1
    )  # y = ±1
    t, y = np.tile(t, 2), np.repeat([1.0, -1.0], len(t))
    keep, weight = addition.select(t, y)
    mass, zeta, zeta2 = keep * given
    linear = y[:, None] * np.column_stack([t * mass, zeta])
    second = np.array([[t * t * mass, t * zeta], [t * zeta, zeta2]]).transpose(2, 0, 1)
    used = (mass > 0) & (weight > 0)
    weight, atom = np.unique(weight[used], return_inverse=True)

    def total(moment: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(weight), *moment.shape[1:]))
        np.add.at(sums, atom, moment[used])
        return sums

    return weight, total(mass), total(linear), total(second)


def nodes(tau: float, breaks: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes t > 0 and weights of |G|, G ~ N(0, 1): panels cut at breaks and on the scale 1/tau."""
    edges = np.unique(np.clip([0, 1, 2, 3, 5, 7, 10, *breaks, *(np.array([1, 3, 9]) / max(abs(tau), 0.1))], 0, 10))
    x, w = np.polynomial.legendre.leggauss(ORDER)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (x + 1)
    return t.ravel(), (half * w * np.sqrt(2 / np.pi) * np.exp(-(t**2) / 2)).ravel()
