"""The paper's asymptotics for ridge regression on selected rows: Theorem 1 and Corollary 1.

In the plane of w_s and w0 every quantity is a sum of positive terms, where the printed m0 and nu0 cancel. With u =
lam·phi·m of (T1.11) and slope = 2u + lam + p - phi, for c = (beta_tilde, beta):

    L = lam + u,  a = (beta_tilde/(L + gamma), beta/(L + p))    (T1.12), w_hat on w_s and on v ⟂ w_s
    Q = p - c·a - L|a|²,  sigma² = u·Q/(L·slope)                (T1.13), |w_hat|² outside the plane

docs/theory/theorem-1.md derives it, with r = beta²·m + beta_tilde²·m_tilde (T1.9) as in the proof in C.2; the main
text's factors disagree with simulation. `ell` is L, `variance` is sigma²/Q, `fitted` is u/L.
"""

from collections.abc import Iterator
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.numerics.checks import (
    ROUNDING,
    Array,
    Float,
    Real,
    common_shape,
    require,
    require_in,
    require_numbers,
    require_ridge,
    sine_of,
)
from dp_theory.outcomes import Prediction
from dp_theory.rules import Moments, Rule
from dp_theory.rules.base import require_certain

if TYPE_CHECKING:
    from dp_theory.ridge.problem import Problem

# Cells evaluated at a time: their intermediate arrays stay in the processor's cache.
_BLOCK = 16384
# Stands for 0, by which is divided.
_NO_ZERO = 1e-300
# Moments may have rounding errors.
_ABOVE = 1 + 1e-6


def blocks_with_moments(
    problem: "Problem", size: int, moments: str, phi: Real = None
) -> Iterator[tuple[slice, Rule, tuple[Any, ...], Array, Array, Array]]:
    """`problem.blocks`, with what the rule's method `moments` says of each: once where several cells share it."""
    rule, rho = problem.rule, problem.rho
    known: tuple[Any, ...] = ()
    if prod(common_shape(**rule.parameters(), rho=rho)) < prod(problem.shape):
        known = tuple(
            type(part)(*(np.broadcast_to(moment, problem.shape).reshape(-1) for moment in part))
            for part in getattr(rule, moments)(rho)
        )
    for cells, rule, rho, of_phi, lam in problem.blocks(size, phi):
        parts = [type(part)(*(moment[cells] for moment in part)) for part in known]
        yield cells, rule, tuple(parts) or getattr(rule, moments)(rho), rho, of_phi, lam


def predict_theorem1(problem: "Problem", *, tolerance: float | None = None) -> Prediction:
    """Theorem 1, or Corollary 1 where lam = 0 (paper, section 4)."""
    shape = problem.shape
    outputs = np.empty((5, prod(shape)))
    blocks = blocks_with_moments(problem, _BLOCK, "moments_with_errors")
    for cells, rule, (moments, errors), rho, phi, lam in blocks:
        for output, values in zip(outputs, limits(rule, moments, errors, rho, phi, lam, tolerance), strict=True):
            output[cells] = values
    return Prediction(*(output.reshape(shape)[()] for output in outputs))


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Real, Real, Real]:
    """Theorem 1, or Corollary 1 where lam = 0, from a rule's moments.

    Parameters
    ----------
    p, gamma, beta, beta_tilde
        Moments of the rule at `rho`, as in `Moments`.
    rho
        Cosine between selector and truth.
    phi
        Aspect ratio d/n, positive.
    lam
        Ridge per row, at least 0.

    Returns
    -------
    test_error, overlap, squared_norm
        All parameters broadcast.

    Raises
    ------
    InputError
        For a parameter that is no number, and for what no rule or problem can have.

    References
    ----------
    Theorem 1 of the paper, with r as in the proof in C.2: (T1.10), in the form (T1.14); Corollary 1 is (T1.15).
    """
    *moments, rho, phi, lam = _checked(p=p, gamma=gamma, beta=beta, beta_tilde=beta_tilde, rho=rho, phi=phi, lam=lam)
    p = moments[0]
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    with np.errstate(divide="ignore", invalid="ignore"):  # each formula is evaluated on the other's cells too
        variance = np.where(lam > 0, u / (ell * slope), np.minimum(1.0, phi / p) / np.abs(p - phi))
    along, *_, off = _components(ell, variance, Moments(*moments), rho)
    return outputs_of(along, off)


def corollary1(p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real) -> tuple[Real, Real, Real]:
    """Corollary 1, the limit lam → 0+ of Theorem 1: least squares for phi < p, interpolation for phi > p.

    The two phases meet in the divergence at phi = p, where squared_norm is inf and the test error 1/2. Parameters are
    those of `theorem1`.

    Returns
    -------
    test_error, overlap, squared_norm
        All parameters broadcast.

    Raises
    ------
    InputError
        For a parameter that is no number, and for what no rule or problem can have.

    References
    ----------
    Corollary 1 of the paper, (T1.15).
    """
    return theorem1(p, gamma, beta, beta_tilde, rho, phi, 0.0)


def _checked(**values: Real) -> list[Array]:
    """Arrays of what a rule and a problem can have: by Cauchy-Schwarz |beta| ≤ p and beta_tilde² ≤ p·gamma."""
    p, gamma, beta, beta_tilde, rho, phi, lam = given = require_numbers(**values)
    is_rule = (p > 0) & (p <= _ABOVE) & (np.abs(beta) <= p * _ABOVE) & (beta_tilde**2 <= p * gamma * _ABOVE)
    require("p", p, is_rule, "lie in (0, 1], and a rule's other moments have |beta| ≤ p and beta_tilde² ≤ p·gamma")
    require_in("[-1, 1]", "it is cos(w_s, w0)", rho=rho)
    require("phi", phi, (phi > 0) & np.isfinite(phi), "be positive and finite: it is d/n, n the size of the pool")
    require_ridge(lam=lam)
    return given


def fixed_point(p: Real, phi: Real, lam: Real) -> tuple[Real, Real]:
    """u = lam·phi·m, the positive root of (T1.11), and the slope there, without cancellation."""
    excess = phi - p - lam  # the sum of the two roots, of which one is positive and one negative
    product = 2 * lam * phi  # twice the product of their magnitudes
    slope = np.sqrt(excess * excess + 2 * product)
    # without ridge both are 0 at the peak
    return product / np.maximum(np.abs(excess) + slope, _NO_ZERO) + np.maximum(excess, 0.0), slope


def limits(
    rule: Rule,
    moments: Moments,
    errors: Moments,
    rho: Float[Array, " cells"],
    phi: Float[Array, " cells"],
    lam: Float[Array, " cells"],
    tolerance: float | None,
) -> tuple[Real, Real, Real, Real, Real]:
    """The fields of a `Prediction`; the certificate bounds, to first order, the relative error of every output.

    That of the overlap is relative to |w_hat|.
    """
    error = reduce(np.maximum, errors)
    require_certain(rule, errors, tolerance)
    p = moments.p
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 and 1/0 of the ridgeless limit
        ell, slope, fitted, condition = _scalars(p, errors.p, phi, lam)
        variance = fitted / slope
        along, from_s, from_v, outside, off = _components(ell, variance, moments, rho)
        # twice the relative error of a
        twice = 2 * (2 * (error + 4 * ROUNDING) + condition * ell / (ell + np.minimum(moments.gamma, p)))
        across = np.abs(from_s - from_v) * (np.abs(from_s) + np.abs(from_v))  # the two cancel
        moved = twice * (across + variance * p) + outside * condition * (2 - fitted)  # the terms of Q are at most p
        certificate = twice + moved / off
        if not slope.all():  # at the peak the norm is inf if p is known exactly, and anything if it is not
            certificate = np.where(slope > 0, certificate, np.where(condition > 0, np.inf, error))
    # where all moments are lost below the smallest number it is nan
    return *outputs_of(along, off), p, np.fmin(certificate, np.inf)


def _scalars(p: Any, p_error: Any, phi: Any, lam: Any) -> tuple[Any, Any, Any, Any]:
    """L, slope and u/L at lam > 0, their limits at lam = 0; and the relative error of u, L and slope by that of p."""
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    fitted = u / ell
    condition = p_error * p / slope
    if not lam.all():
        fitted = np.where(lam > 0, fitted, np.minimum(1.0, phi / p))
        condition = np.where(np.multiply(p_error, p) > 0, p_error * p / slope, 0.0)
    return ell, slope, fitted, condition


def _components(ell: Any, variance: Any, moments: Moments, rho: Any) -> tuple[Any, Any, Any, Any, Any]:
    """w_hat along w0; across it in the plane, what a_s adds and what a_v takes; sigma²; and |w_hat|² off w0."""
    p, gamma, beta, beta_tilde = moments
    ell_s = ell + gamma
    ell_v = ell + p
    a_s = beta_tilde / ell_s
    a_v = beta / ell_v
    residual = p - a_s * a_s * (ell + ell_s) - a_v * a_v * (ell + ell_v)
    sine = sine_of(rho)
    from_s = sine * a_s
    from_v = rho * a_v
    across = from_s - from_v
    outside = variance * residual
    return rho * a_s + sine * a_v, from_s, from_v, outside, across * across + outside


def outputs_of(along: Any, off: Any) -> tuple[Any, Any, Any]:
    """Test error, overlap and squared norm of a learner by its part along w0 and the square of that off it."""
    return error_of(along, off), along, along * along + off


def error_of(along: Any, off: Any) -> Any:
    """The test error alone."""
    return np.arctan2(np.sqrt(off), along) / np.pi
