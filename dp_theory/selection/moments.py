"""The test error as a function of the six moments of a rule, and its derivative; docs/theory/best-selection.md derives
it.

A rule of the score t and the observed label y does what a function of u = y·t alone does. With w = y·(x·v), v ⟂ w_s in
the plane of w_s and w0, a learner depends on a rule q by the six moments E[q·(1, u, w, u², uw, w²)] only.

Per kept row psi = d/m and moments are those of (T7.1). A number r in (0, min(1, psi)] stands for the ridge lam = (1 -
r)·L (T7.2).
"""

import numpy as np

from dp_theory.loop.groups import observed_labels
from dp_theory.numerics.checks import Array, Float, Inexact, Real, sine_of
from dp_theory.ridge.theorem1 import fixed_point

# On which a learner depends.
MOMENTS = 6
# The number of panels: they are dyadic, so that these resolve the label's scale to 1e-12.
ORDER = 12
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


def slope_by_moments(moments: Float[Array, " 6"], psi: float, rho: float, r: float, d_psi: float) -> Float[Array, " 6"]:
    """The derivative of the test error; d_psi is that of psi by the kept share. The ridge per training row stays.

    A step off the real axis has (T7.7) to (T7.9) to rounding.
    """
    of_share = 1j * _STEP * np.eye(MOMENTS)[0]
    d_r = (1 - r) * d_psi / (psi / r - r)
    steps = moments[:, None] + 1j * _STEP * np.eye(MOMENTS)
    along, off = ridge_limit(steps, psi + of_share * d_psi, rho, r + of_share * d_r)
    root = np.sqrt(off)
    return (root.imag * along.real - along.imag * root.real) / (along.real**2 + off.real) / (np.pi * _STEP)


def ridge_ratio(psi: Real, lam: Real) -> Real:
    """r of a ridge lam ≥ 0 per kept row, the root of (1 - r)(psi/r - 1) = lam."""
    with np.errstate(divide="ignore", invalid="ignore"):  # at the peak, psi = 1 and lam = 0
        u, _ = fixed_point(1.0, psi, lam)
        return np.where(np.greater(lam, 0), u / (lam + u), np.minimum(1.0, psi))[()]
