"""The test error as a function of the six moments of a rule, and its derivative; docs/theory/best-selection.md derives
it.

A rule of the score t and the observed label y does what a function of u = y·t alone does. With w = y·(x·v), v ⟂ w_s in
the plane of w_s and w0, a learner depends on a rule q by the six moments E[q·(1, u, w, u², uw, w²)] only.

Per kept row psi = d/m and moments are those of (T7.1). A number r in (0, min(1, psi)] stands for the ridge lam = (1 -
r)·L (T7.2); a, Q, sigma² and kappa are those of (T7.3), h of (T7.6). S is L + 1 - r, C = a·w0/(|a|² + sigma²), and
`off` = |a|² + sigma² - (a·w0)².
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.loop.flips import observed_labels
from dp_theory.numerics.checks import Array, Real, require
from dp_theory.numerics.quadrature import half_line
from dp_theory.ridge.problem import Problem
from dp_theory.ridge.theorem1 import fixed_point
from dp_theory.rules import KeepAll, Rule

if TYPE_CHECKING:
    from jaxtyping import Float


MOMENTS = 6  # on which a learner depends
ORDER = 12  # of the panels: they are dyadic, so that this resolves the label's scale to 1e-12
TINY = 1e-300  # in place of a share of rows that is 0, in denominators


def features(rho: float, flip: float, u: Float[Array, " margins"]) -> Float[Array, "6 margins"]:
    """E[1, u, w, u², uw, w² | u], times the density of u over that of |G|, G ~ N(0, 1)."""
    share, w, w2 = observed_labels(flip, rho * u, float(np.sqrt((1 - rho) * (1 + rho))), ORDER)[0]
    return np.stack([share, u * share, w, u * u * share, u * w, w2])


def moments_of(
    keep: Callable[[Array, Array], ArrayLike], rho: float, flip: float = 0.0, breaks: tuple[float, ...] = ()
) -> Float[Array, " 6"]:
    """E[q·(1, u, w, u², uw, w²)] of a rule q of score and label, with jumps at `breaks`."""
    t, weights = half_line(breaks, ORDER)
    u = np.append(-t[::-1], t)
    kept = sum(np.asarray(keep(sign * u, sign * np.ones_like(u)), float) for sign in (1, -1)) / 2
    return features(rho, flip, u) @ (np.append(weights[::-1], weights) * kept)


class RidgeLimit(NamedTuple):
    """w_hat in the plane of w_s and w0 and off it, in the symbols of the module's head."""

    a: tuple[Array, Array]  # along w_s and v
    ell: Array  # L
    inverse: tuple[Array, Array, Array]  # the entries ss, sv and vv of (L + A)^-1
    kappa: Array
    spread: Array  # S
    misfit: Array  # Q
    along: Array  # a·w0
    off: Array

    @property
    def test_error(self) -> Array:
        return np.arctan2(np.sqrt(self.off), self.along) / np.pi


def ridge_limit(moments: Float[Array, " 6 *shape"], psi: Real, rho: Real, r: Real) -> RidgeLimit:
    """What is learned from rows with these moments E[q·(1, u, w, u², uw, w²)]."""
    c_s, c_v, ss, sv, vv = moments[1:] / moments[0]
    ell = psi / r - 1
    b_s = ell + ss
    b_v = ell + vv
    determinant = b_s * b_v - sv * sv
    inverse = (b_v / determinant, -sv / determinant, b_s / determinant)
    a_s = inverse[0] * c_s + inverse[1] * c_v
    a_v = inverse[1] * c_s + inverse[2] * c_v
    spread = ell + 1 - r
    kappa = r / spread
    misfit = 1 - c_s * a_s - c_v * a_v - ell * (a_s * a_s + a_v * a_v)
    sine = np.sqrt((1 - rho) * (1 + rho))
    across = sine * a_s - rho * a_v
    along = rho * a_s + sine * a_v
    return RidgeLimit((a_s, a_v), ell, inverse, kappa, spread, misfit, along, across * across + kappa * misfit)


class ErrorSlopes(NamedTuple):
    """Derivatives of the test error."""

    by_means: Float[Array, " 5"]  # by (c, A), the last five moments per kept row
    by_psi: float  # at a fixed lam
    by_lam: float  # at a fixed psi


def error_slopes(at: RidgeLimit, psi: float, rho: float, r: float) -> ErrorSlopes:
    """(T7.8) and (T7.9)."""
    a = np.array(at.a)
    sine = np.sqrt((1 - rho) * (1 + rho))
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
    return ErrorSlopes(scale * np.concatenate([by_c, by_a]), by_psi, by_lam)


def slope_by_moments(
    slopes: ErrorSlopes, moments: Float[Array, " 6"], d_psi: float, d_lam: float
) -> Float[Array, " 6"]:
    """d_psi and d_lam are derivatives by the kept share."""
    p = moments[0]
    by_share = slopes.by_psi * d_psi + slopes.by_lam * d_lam - slopes.by_means @ moments[1:] / p**2
    return np.append(by_share, slopes.by_means / p)


def ridge_ratio(psi: Real, lam: Real) -> Real:
    """r of a ridge lam ≥ 0 per kept row, the root of (1 - r)(psi/r - 1) = lam."""
    with np.errstate(divide="ignore", invalid="ignore"):  # at the peak, psi = 1 and lam = 0
        u, _ = fixed_point(1.0, psi, lam)
        return np.where(np.greater(lam, 0), u / (lam + u), np.minimum(1.0, psi))[()]


def influence(
    keep: Rule | Callable[[Array, Array], ArrayLike],
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

    If q changes by h, then E changes by Σ_y ∫ h(t, y)·influence·P(y | t)·pdf(t) dt, to first order.

    Parameters
    ----------
    keep
        The rule q that is changed: a `Rule` or a function (t, y) -> probability.
    t, y
        Score and observed label of the rows. They broadcast. y = None stands for rows of this score with either label.
    rho
        Cosine between selector and truth, inside (-1, 1).
    phi, lam
        d/n and the ridge as in a `Problem`, where n counts the pool.
    flip
        Probability that a label is flipped, below 1/2.
    breaks
        The |t| at which a function `keep` is not smooth.

    Returns
    -------
    ndarray
        Of the shape that t and y broadcast to.

    Raises
    ------
    InputError
        Outside the parameters' domain, and where the rule keeps nothing.

    Examples
    --------
    >>> from dp_theory import KeepAll, influence
    >>> influence(KeepAll(), [0.0, 2.0], rho=0.9, phi=0.2, lam=0.1) < 0  # rows that the selector finds hard help more
    array([ True, False])
    """
    problem = Problem(KeepAll(), rho, phi, lam)  # it checks the numbers
    require("rho", rho, abs(rho) < 1, "lie in (-1, 1)")
    require("flip", flip, 0 <= flip < 0.5, "lie in [0, 1/2): it is a flip rate")
    if isinstance(keep, Rule):
        rule = keep
        breaks = rule.breakpoints()
        keep = lambda t, y: rule.keep_probability(t)  # noqa: E731
    moments = moments_of(keep, rho, flip, breaks)
    p = float(moments[0])
    require("keep_fraction", p, p > 0, "be positive: the rule keeps nothing")
    psi = problem.phi / p
    ridge = problem.lam / p
    r = float(ridge_ratio(psi, ridge))
    slopes = error_slopes(ridge_limit(moments, psi, rho, r), psi, rho, r)
    slope = slope_by_moments(slopes, moments, -psi / p, -ridge / p)
    u = np.asarray(t, float) if y is None else np.multiply(t, y)
    of_rows = features(rho, flip, u.ravel())
    if y is None:
        of_rows = of_rows + features(rho, flip, -u.ravel())
    return (slope @ of_rows / of_rows[0].clip(TINY)).reshape(u.shape)[()]
