"""The test error as a function of six moments of a rule, and its derivative.

Per kept row: psi = d/m, c = E[y g], A = E[g gᵀ] over kept rows in the plane g = (x·w_s, x·v), lam the ridge. With
r = delta/(1 + delta) in (0, min(1, psi)], which stands for the ridge, lam = (1 - r)·L and lam = 0 at the end,

    L = psi/r - 1                  a = (L + A)^-1 c                   Q = 1 - c·a - L|a|²
    S = L + 1 - r                  sigma² = kappa·Q, kappa = r/S      cos(πE) = a·w0/√(|a|² + sigma²)

which is Theorem 1 without its fixed point. A row more at (t, y) changes the error by

    δE/δq(t, y) = constant - (1/(π p √off)) E[(h·g) e - (C·kappa/2) e² | t, y],    e = y - a·g
    h = (L + A)^-1 (w0 - C(1 - kappa·L) a),   C = a·w0/(|a|² + sigma²),   off = |a|² + sigma² - (a·w0)²
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.numerics.checks import Array, Real, require
from dp_theory.ridge.problem import Problem
from dp_theory.ridge.theorem1 import fixed_point
from dp_theory.rules import KeepAll, Rule
from dp_theory.selection.margins import Bands, View

_TINY = 1e-300  # of a share: rows that there are none of


class Learner(NamedTuple):
    """w_hat in the plane of w_s and w0 and off it, with what its derivatives need; symbols as in the module's head."""

    a: tuple[Array, Array]
    ell: Array
    inverse: tuple[Array, Array, Array]  # of L + A: its entries ss, sv, vv
    kappa: Array
    spread: Array  # S
    misfit: Array  # Q
    along: Array  # a·w0
    off: Array

    @property
    def test_error(self) -> Array:
        """The angle to w0 over π."""
        return np.arctan2(np.sqrt(self.off), self.along) / np.pi


def learner(moments: Array, psi: Real, rho: Real, r: Real) -> Learner:
    """What is learned from rows with these moments, E[q·(1, u, w, u², uw, w²)] (6, *S); the rest broadcasts to S."""
    c_s, c_v, ss, sv, vv = moments[1:] / moments[0]
    ell = psi / r - 1
    b_s, b_v = ell + ss, ell + vv
    determinant = b_s * b_v - sv * sv
    inverse = b_v / determinant, -sv / determinant, b_s / determinant
    a_s, a_v = inverse[0] * c_s + inverse[1] * c_v, inverse[1] * c_s + inverse[2] * c_v
    spread = ell + 1 - r
    kappa = r / spread
    misfit = 1 - c_s * a_s - c_v * a_v - ell * (a_s * a_s + a_v * a_v)
    sine = np.sqrt((1 - rho) * (1 + rho))
    across = sine * a_s - rho * a_v
    return Learner(
        (a_s, a_v), ell, inverse, kappa, spread, misfit, rho * a_s + sine * a_v, across * across + kappa * misfit
    )


def slopes(at: Learner, psi: float, rho: float, r: float) -> tuple[Array, float, float]:
    """Derivatives of the test error of a scalar problem: by (c, A) per kept row, as the last five of the moments (5,);
    by psi and by lam, each given the other."""
    a, sine = np.array(at.a), np.sqrt((1 - rho) * (1 + rho))
    cosine = at.along / (at.along**2 + at.off)  # C
    scale = -1 / (np.pi * np.sqrt(at.off))
    inverse = np.array([[at.inverse[0], at.inverse[1]], [at.inverse[1], at.inverse[2]]])
    h = inverse @ (np.array([rho, sine]) - cosine * (1 - at.kappa * at.ell) * a)
    half = h + at.kappa * cosine / 2 * a
    by_c = h + at.kappa * cosine * a
    by_a = -np.array([half[0] * a[0], half[0] * a[1] + half[1] * a[0], half[1] * a[1]])

    def through_bulk(d_r: float, d_psi: float) -> float:
        d_ell = (d_psi - psi * d_r / r) / r
        d_spread = d_ell - d_r
        d_kappa = (d_r - at.kappa * d_spread) / at.spread
        return float(scale * (-(h @ a) * d_ell - cosine * at.misfit / 2 * d_kappa))

    by_psi = through_bulk(float((1 - r) / at.spread), 1.0)
    by_lam = through_bulk(float(-r / at.spread), 0.0)
    return scale * np.concatenate([by_c, by_a]), by_psi, by_lam


def by_moments(slopes: tuple[Array, float, float], moments: Array, d_psi: float, d_lam: float) -> Array:
    """Derivative of the test error by the moments of a rule (6,), of which the first is p.

    d_psi, d_lam: derivatives of psi and of the ridge per row by p.
    """
    of_rows, by_psi, by_lam = slopes
    p = moments[0]
    own = by_psi * d_psi + by_lam * d_lam - of_rows @ moments[1:] / p**2
    return np.append(own, of_rows / p)


def ridge_ratio(psi: Real, lam: Real) -> Real:
    """r of a ridge lam ≥ 0 per kept row: (1 - r)(psi/r - 1) = lam."""
    with np.errstate(divide="ignore", invalid="ignore"):  # at the peak, psi = 1 and lam = 0
        u, _ = fixed_point(1.0, psi, lam)
        return np.where(np.greater(lam, 0), u / (lam + u), np.minimum(1.0, psi))[()]


def influence(
    keep: Rule | Bands | Callable[[Array, Array], ArrayLike],
    t: ArrayLike,
    y: ArrayLike | None = None,
    *,
    rho: float,
    phi: float,
    lam: float,
    flip: float = 0.0,
    breaks: tuple[float, ...] = (),
) -> Array:
    """δE/δq(t, y): what keeping more of the rows of score t and observed label y adds to the test error.

    If q changes by h, then E by Σ_y ∫ h(t, y)·influence·P(y | t)·pdf(t) dt, to first order. keep: the rule q(t, y) that
    is changed; of a function, `breaks` are the |t| where it is not smooth. phi = d/n and lam as in a `Problem`, n the
    pool. y = None: rows of score t whatever their label. t and y broadcast. Raises InputError outside the parameters'
    domain, and where the rule keeps nothing.
    """
    problem = Problem(KeepAll(), rho, phi, lam)  # checks them
    require("rho", rho, abs(rho) < 1, "lie in (-1, 1)")
    require("flip", flip, 0 <= flip < 0.5, "lie in [0, 1/2): it is a flip rate")
    if isinstance(keep, Rule):
        rule, breaks = keep, keep.breakpoints()
        keep = lambda t, y: rule.keep_probability(t)  # noqa: E731
    view = View(rho, flip, labels=True)
    moments = view.moments(keep, breaks)
    p = float(moments[0])
    require("keep_fraction", p, p > 0, "be positive: the rule keeps nothing")
    psi, ridge = problem.phi / p, problem.lam / p
    r = float(ridge_ratio(psi, ridge))
    at = learner(moments, psi, rho, r)
    slope = by_moments(slopes(at, psi, rho, r), moments, -psi / p, -ridge / p)
    x = np.asarray(t, float) if y is None else np.multiply(t, y)
    features = (View(rho, flip) if y is None else view).features(np.abs(x).ravel() if y is None else x.ravel())
    return (slope @ features / features[0].clip(_TINY)).reshape(x.shape)[()]
