"""The test error as a function of the six moments of a rule, and its derivative; docs/theory/best-selection.md derives
it.

A rule of the score t and the observed label y does what a function of u = y·t alone does. With w = y·(x·v), v ⟂ w_s in
the plane of w_s and w0, a learner depends on a rule q by the six moments E[q·(1, u, w, u², uw, w²)] only.

Per kept row psi = d/m and moments are those of (T7.1). A number r in (0, min(1, psi)] stands for the ridge lam = (1 -
r)·L (T7.2).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.loop.groups import observed_labels, require_keep
from dp_theory.numerics.checks import (
    Array,
    Float,
    Inexact,
    Real,
    numbers,
    of_arrays,
    require,
    require_breaks,
    require_in,
    require_number,
    shape_of_all,
)
from dp_theory.numerics.quadrature import half_line, sine_of
from dp_theory.ridge.problem import Problem
from dp_theory.ridge.theorem1 import fixed_point
from dp_theory.rules import KeepAll, Rule
from dp_theory.rules.base import probability_of

# On which a learner depends.
MOMENTS = 6
# The number of panels: they are dyadic, so that these resolve the label's scale to 1e-12.
ORDER = 12
# Without ridge, the distance of psi from 1 that rounding leaves at the peak.
_PEAK = 1e-12
# The step of derivatives.
_STEP = 1e-30
# It stands for a share of rows that is 0, in denominators.
TINY = 1e-300


def features(rho: float, flip: float, u: Float[Array, " margins"]) -> Float[Array, "6 margins"]:
    """E[1, u, w, u², uw, w² | u], times the density of u over that of |G|, G ~ N(0, 1)."""
    share, w, w2 = observed_labels(flip, rho * u, float(sine_of(rho)))[0]
    return np.stack([share, u * share, w, u * u * share, u * w, w2])


def ridge_limit(moments: Inexact[np.ndarray, " 6 *shape"], psi: Real, rho: Real, r: Real) -> tuple[Array, Array]:
    """What is learned from rows with these moments E[q·(1, u, w, u², uw, w²)]: along w0, and its square off it."""
    c_s, c_v, ss, sv, vv = moments[1:] / moments[0]
    ell = psi / r - 1
    b_s = ell + ss
    b_v = ell + vv
    determinant = b_s * b_v - sv * sv
    a_s = (b_v * c_s - sv * c_v) / determinant
    a_v = (b_s * c_v - sv * c_s) / determinant
    misfit = 1 - c_s * a_s - c_v * a_v - ell * (a_s * a_s + a_v * a_v)
    sine = sine_of(rho)
    across = sine * a_s - rho * a_v
    return rho * a_s + sine * a_v, across * across + r / (ell + 1 - r) * misfit


def slope_by_moments(
    moments: Float[Array, " 6"], psi: float, rho: float, r: float, d_psi: float, d_lam: float
) -> Float[Array, " 6"]:
    """The derivative of the test error; d_psi and d_lam are those of psi and lam by the kept share.

    A step off the real axis has (T7.7) to (T7.9) to rounding.
    """
    of_share = 1j * _STEP * np.eye(MOMENTS)[0]
    d_r = ((1 - r) * d_psi - r * d_lam) / (psi / r - r)
    steps = moments[:, None] + 1j * _STEP * np.eye(MOMENTS)
    along, off = ridge_limit(steps, psi + of_share * d_psi, rho, r + of_share * d_r)
    root = np.sqrt(off)
    return (root.imag * along.real - along.imag * root.real) / (along.real**2 + off.real) / (np.pi * _STEP)


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
        Score and observed label of the rows, which broadcast, as answers do. y = None stands for either label.
    rho
        Cosine between selector and truth, inside (-1, 1).
    phi, lam
        d/n and the ridge as in a `Problem`, where n counts the pool.
    flip
        Probability that a label is flipped, below 1/2.
    breaks
        The |t| at which a function `keep` is not smooth.

    Raises
    ------
    InputError
        Outside the parameters' domain, for labels other than 1 and -1, where the rule keeps nothing, and at the
        ridgeless peak.

    Examples
    --------
    >>> from dp_theory import KeepAll, influence
    >>> influence(KeepAll(), [0.0, 2.0], rho=0.9, phi=0.2, lam=0.1) < 0  # rows that the selector finds hard help more
    array([ True, False])
    """
    rho, phi, lam, flip = require_number(rho=rho, phi=phi, lam=lam, flip=flip)
    Problem(KeepAll(), rho, phi, lam)  # it checks the numbers
    require_in("(-1, 1)", "it is cos(w_s, w0)", rho=rho)
    require_in("[0, 1/2)", "it is a flip rate", flip=flip)
    require_keep(keep)
    require_breaks(breaks)
    sizes, weights = half_line(keep.breakpoints() if isinstance(keep, Rule) else breaks, ORDER)
    margins = np.append(-sizes[::-1], sizes)
    if isinstance(keep, Rule):
        kept = probability_of(keep, margins)
    else:
        ones = np.ones_like(margins)
        sides = np.array([of_arrays("keep", keep, s * margins, s * ones) + 0 * ones for s in (1, -1)])
        require("keep", sides, (sides >= 0) & (sides <= 1), "lie in [0, 1]: it is a probability")
        kept = sides.mean(0)
    moments = features(rho, flip, margins) @ (np.append(weights[::-1], weights) * kept)
    p = float(moments[0])
    require("keep_fraction", p, p > 0, "be positive: the rule keeps nothing")
    psi = phi / p
    ridge = lam / p
    r = float(ridge_ratio(psi, ridge))
    is_smooth = lam > 0 or abs(psi - 1) > _PEAK
    require("phi", phi, is_smooth, "differ from the kept fraction at lam = 0: the error has a peak there, and no slope")
    slope = slope_by_moments(moments, psi, rho, r, -psi / p, -ridge / p)
    u = numbers("t", t)
    require("t", u, np.isfinite(u), "be finite: it is a score")
    if y is not None:
        labels = numbers("y", y)
        require("y", labels, np.abs(labels) == 1, "be 1 or -1: it is a label")
        shape_of_all({"t": u.shape, "y": labels.shape})
        u = u * labels
    of_rows = features(rho, flip, u.ravel())
    if y is None:
        of_rows = of_rows + features(rho, flip, -u.ravel())
    return (slope @ of_rows / of_rows[0].clip(TINY)).reshape(u.shape)[()]
