"""The paper's asymptotics for ridge regression on selected rows: Theorem 1 and Corollary 1.

In the plane of w_s and w0 every quantity is a sum of positive terms, where the printed m0 and nu0 cancel. With u =
lam·phi·m of (T1.11) and slope = 2u + lam + p - phi, for c = (beta_tilde, beta):

    L = lam + u,  a = (beta_tilde/(L + gamma), beta/(L + p))    (T1.12), w_hat on w_s and on v ⟂ w_s
    Q = p - c·a - L|a|²,  sigma² = u·Q/(L·slope)                (T1.13), |w_hat|² outside the plane

docs/theory/theorem-1.md derives it, with r = beta²·m + beta_tilde²·m_tilde (T1.9) as in the proof in C.2; the main
text's factors disagree with simulation. `ell` is L, `variance` is sigma²/Q, `fitted` is u/L.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import ROUNDING, Array, Float, Real, require_numbers
from dp_theory.numerics.quadrature import sine_of
from dp_theory.outcomes import Prediction
from dp_theory.rules import Moments, Rule

if TYPE_CHECKING:
    from dp_theory.ridge.problem import Problem

_BLOCK = 32768  # cells evaluated at a time: their intermediate arrays stay in the processor's cache


def predict_theorem1(problem: Problem, *, tolerance: float | None = None) -> Prediction:
    """Theorem 1, or Corollary 1 where lam = 0 (paper, section 4)."""
    shape = problem.shape
    outputs = np.empty((5, prod(shape)))
    for cells, rule, rho, phi, lam in problem.blocks(_BLOCK):
        moments, errors = rule.moments_with_errors(rho)
        for output, values in zip(outputs, limits(rule, moments, errors, rho, phi, lam, tolerance), strict=True):
            output[cells] = values
    return Prediction(*(output.reshape(shape)[()] for output in outputs))


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Real, Real, Real]:
    """Theorem 1 for lam > 0, from a rule's moments.

    Parameters
    ----------
    p, gamma, beta, beta_tilde
        Moments of the rule at `rho`, as in `Moments`.
    rho
        Cosine between selector and truth.
    phi
        Aspect ratio d/n.
    lam
        Ridge per row, positive.

    Returns
    -------
    test_error, overlap, squared_norm
        All parameters broadcast.

    Raises
    ------
    InputError
        For a parameter that is no number.

    References
    ----------
    Theorem 1 of the paper, with r as in the proof in C.2: (T1.10), in the form (T1.14).
    """
    require_numbers(p=p, gamma=gamma, beta=beta, beta_tilde=beta_tilde, rho=rho, phi=phi, lam=lam)
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    return _outputs(_components(ell, u / (ell * slope), Moments(p, gamma, beta, beta_tilde), rho))


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
        For a parameter that is no number.

    References
    ----------
    Corollary 1 of the paper, (T1.15).
    """
    require_numbers(p=p, gamma=gamma, beta=beta, beta_tilde=beta_tilde, rho=rho, phi=phi)
    ell = np.maximum(np.subtract(phi, p), 0.0)  # lam·(1 + delta) → 0 below the threshold, and phi - p above
    with np.errstate(divide="ignore"):
        variance = np.minimum(1.0, np.divide(phi, p)) / np.abs(np.subtract(p, phi))
    return _outputs(_components(ell, variance, Moments(p, gamma, beta, beta_tilde), rho))


def fixed_point(p: Real, phi: Real, lam: Real) -> tuple[Real, Real]:
    """u = lam·phi·m, the positive root of (T1.11), and the slope there, without cancellation."""
    excess = phi - p - lam  # the sum of the two roots, of which one is positive and one negative
    product = 2 * lam * phi  # twice the product of their magnitudes
    slope = np.sqrt(excess * excess + 2 * product)
    return product / (np.abs(excess) + slope) + np.maximum(excess, 0.0), slope


def limits(
    rule: Rule,
    moments: Moments,
    errors: Moments,
    rho: Float[Array, " cells"],
    phi: Float[Array, " cells"],
    lam: Float[Array, " cells"],
    tolerance: float | None,
) -> tuple[Real, Real, Real, Real, Real]:
    """The fields of a `Prediction`."""
    error = _largest(errors)
    if tolerance is not None and not np.all(error <= tolerance):
        raise ConvergenceError(f"moments of {rule} are certain to {np.max(error):.1e} only: tolerance = {tolerance:g}")
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 and 1/0 of the ridgeless limit
        scalars = _scalars(moments.p, errors.p, phi, lam)
        variance = scalars.fitted / scalars.slope
        components = _components(scalars.ell, variance, moments, rho)
        certificate = _certificate(components, variance, moments.p, error + 4 * ROUNDING, scalars)
        if not scalars.slope.all():  # at the peak the norm is inf if p is known exactly, and anything if it is not
            at_the_peak = np.where(scalars.condition > 0, np.inf, error)
            certificate = np.where(scalars.slope > 0, certificate, at_the_peak)
    return *_outputs(components), moments.p, certificate


def _largest(errors: Moments) -> Any:
    if all(np.ndim(error) == 0 for error in errors):
        return max(errors)
    return np.maximum.reduce(np.broadcast_arrays(*errors))


class _Scalars(NamedTuple):
    ell: Any  # L
    slope: Any
    fitted: Any  # u/L
    condition: Any  # relative error of u, of L and of the slope, from that of p


def _scalars(p: Any, p_error: Any, phi: Any, lam: Any) -> _Scalars:
    """The fixed point at lam > 0, its limit at lam = 0. p_error is relative."""
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    fitted = u / ell
    condition = p_error * p / slope
    if not lam.all():
        slope = np.where(lam > 0, slope, np.abs(phi - p))
        ell = np.where(lam > 0, ell, np.maximum(phi - p, 0.0))
        fitted = np.where(lam > 0, fitted, np.minimum(1.0, phi / p))
        condition = np.where(np.multiply(p_error, p) > 0, p_error * p / slope, 0.0)
    return _Scalars(ell, slope, fitted, condition)


class _Components(NamedTuple):
    along: Any  # component along w0
    from_s: Any  # what a_s adds to the component that lies in the plane across w0
    from_v: Any  # what a_v takes from it
    outside: Any  # sigma²
    off: Any  # |w_hat|² off w0, in the plane and outside
    sizes: tuple[Any, Any, Any]  # L, L + gamma, L + p


def _components(ell: Any, variance: Any, moments: Moments, rho: Any) -> _Components:
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
    return _Components(
        along=rho * a_s + sine * a_v,
        from_s=from_s,
        from_v=from_v,
        outside=outside,
        off=across * across + outside,
        sizes=(ell, ell_s, ell_v),
    )


def _outputs(components: _Components) -> tuple[Any, Any, Any]:
    along = components.along
    angle = np.arctan2(np.sqrt(components.off), along)
    return angle / np.pi, along, along * along + components.off


def _certificate(components: _Components, variance: Any, p: Any, error: Any, scalars: _Scalars) -> Any:
    """To first order, a bound of the relative error of every output; of the overlap, relative to |w_hat|.

    `twice` is twice the relative error of a. The in-plane component across w0 cancels; the terms of Q are at most p.
    """
    ell, ell_s, ell_v = components.sizes
    twice = 2 * (2 * error + scalars.condition * ell / np.minimum(ell_s, ell_v))
    from_s = components.from_s
    from_v = components.from_v
    across = np.abs(from_s - from_v) * (np.abs(from_s) + np.abs(from_v))
    moved = twice * (across + variance * p) + components.outside * scalars.condition * (2 - scalars.fitted)
    return twice + moved / components.off
