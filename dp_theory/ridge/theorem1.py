"""The paper's asymptotics for ridge regression on selected rows: Theorem 1 and Corollary 1.

Evaluated in the plane of w_s and w0, where every quantity is a sum of positive terms (the printed m0 and nu0 cancel:
nu0 - m0² is what is left of two numbers that agree to many digits). With delta = phi·m and u = lam·delta:

    u² + (lam + p - phi)·u - lam·phi = 0, u > 0            the fixed point of m, without dividing by lam
    slope = 2u + lam + p - phi                             its derivative in u
    L = lam·(1 + delta) = lam + u
    a = (beta_tilde/(L + gamma), beta/(L + p))             projection of w_hat on w_s and on v ⟂ w_s
    Q = E[q (y - x·a)²] = p - c·a - L|a|²                  c = (beta_tilde, beta); squared residual within the plane
    sigma² = u·Q/(L·slope)                                 |w_hat|² outside the plane

The three outputs follow from a and sigma². This is Theorem 1 with r = beta²·m + beta_tilde²·m_tilde, as in the proof in
C.2 (the main text prints other factors there; only these agree with simulation).
"""

from math import prod
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import ROUNDING, Array, Real, require_numbers
from dp_theory.ridge.problem import Prediction, Problem
from dp_theory.rules import Moments, Rule

_BLOCK = 32768  # cells evaluated at a time: their intermediate arrays stay in the processor's cache


def predict_theorem1(problem: Problem, *, tolerance: float | None = None) -> Prediction:
    """Theorem 1 at the problem's parameters, Corollary 1 where lam = 0; broadcasts, floats for scalar parameters.

    At lam = 0 and phi = p the norm diverges: squared_norm = inf, test_error = 1/2. Raises ConvergenceError where the
    rule's moments are not certain to `tolerance` (by default 1e-9), InputError where the rule keeps nothing.
    """
    shape = problem.shape

    def flat(x: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(x, float), shape).reshape(-1)

    rule, at = problem.rule.map(flat), [flat(x) for x in (problem.rho, problem.phi, problem.lam)]
    outputs = np.empty((5, prod(shape)))
    for start in range(0, prod(shape), _BLOCK):
        cells = slice(start, start + _BLOCK)
        block = itemgetter(cells)
        of_block, (rho, phi, lam) = rule.map(block), map(block, at)
        moments, errors = of_block.moments_with_errors(rho)
        for out, values in zip(outputs, limits(of_block, moments, errors, rho, phi, lam, tolerance), strict=True):
            out[cells] = values
    return Prediction(*(out.reshape(shape)[()] for out in outputs))


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Any, Any, Any]:
    """Theorem 1: (test_error, overlap, squared_norm) for lam > 0, from a rule's moments. Everything broadcasts."""
    require_numbers(p=p, gamma=gamma, beta=beta, beta_tilde=beta_tilde, rho=rho, phi=phi, lam=lam)
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    return _outputs(_plane(ell, u / (ell * slope), Moments(p, gamma, beta, beta_tilde), rho))


def corollary1(p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real) -> tuple[Any, Any, Any]:
    """Corollary 1: Theorem 1's limit lam → 0+, for phi < p (least squares) and phi > p (interpolation).

    From a rule's moments; everything broadcasts. The two phases meet in the divergence at phi = p, where sigma² is inf
    and the test error 1/2.
    """
    require_numbers(p=p, gamma=gamma, beta=beta, beta_tilde=beta_tilde, rho=rho, phi=phi)
    ell = np.maximum(np.subtract(phi, p), 0.0)  # lam·(1 + delta) → 0 below the threshold, phi - p above
    with np.errstate(divide="ignore"):
        variance = np.minimum(1.0, np.divide(phi, p)) / np.abs(np.subtract(p, phi))
    return _outputs(_plane(ell, variance, Moments(p, gamma, beta, beta_tilde), rho))


def fixed_point(p: Any, phi: Any, lam: Any) -> tuple[Any, Any]:
    """u = lam·phi·m > 0 in the head of the module, without cancellation, and slope = 2u + lam + p - phi there."""
    excess = phi - p - lam  # by which the wanted root is larger than the other, in magnitude; negative: smaller
    product = 2 * lam * phi  # of the two magnitudes, twice
    slope = np.sqrt(excess * excess + 2 * product)
    return product / (np.abs(excess) + slope) + np.maximum(excess, 0.0), slope


def limits(
    rule: Rule, moments: Moments, errors: Moments, rho: Array, phi: Array, lam: Array, tolerance: float | None
) -> tuple[Any, ...]:
    """The fields of a Prediction, for arrays of one shape, from the rule's moments and their relative errors.

    Raises ConvergenceError where these are above the tolerance.
    """
    error = max(errors) if all(np.ndim(e) == 0 for e in errors) else np.maximum.reduce(np.broadcast_arrays(*errors))
    if tolerance is not None and not np.all(error <= tolerance):
        raise ConvergenceError(f"moments of {rule} are certain to {np.max(error):.1e} only: tolerance = {tolerance:g}")
    p = moments.p
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 and 1/0 of the ridgeless limit
        u, slope = fixed_point(p, phi, lam)
        ell = lam + u
        fitted = u / ell  # phi·m/(1 + phi·m)
        condition = errors.p * p / slope  # relative error of u, of ell and of slope, from that of p
        if not lam.all():  # Corollary 1
            slope = np.where(lam > 0, slope, np.abs(phi - p))
            ell = np.where(lam > 0, ell, np.maximum(phi - p, 0.0))
            fitted = np.where(lam > 0, fitted, np.minimum(1.0, phi / p))
            condition = np.where(np.multiply(errors.p, p) > 0, errors.p * p / slope, 0.0)
        plane = _plane(ell, variance := fitted / slope, moments, rho)
        certificate = _certificate(plane, variance, p, error + 4 * ROUNDING, condition, fitted)
        if not slope.all():  # at the peak the norm is inf if p is known exactly, and anything if not
            certificate = np.where(slope > 0, certificate, np.where(condition > 0, np.inf, error))
    return *_outputs(plane), p, certificate


class _Plane(NamedTuple):
    """w_hat in the plane of w_s and w0, and outside: what the outputs and their certificate are made of."""

    along: Any  # component along w0
    from_s: Any  # component in the plane across w0, what a_s adds to it
    from_v: Any  # what a_v takes from it
    outside: Any  # sigma²
    off: Any  # |w_hat|² off w0, in the plane and outside
    sizes: tuple[Any, Any, Any]  # L, L + gamma, L + p


def _plane(ell: Any, variance: Any, moments: Moments, rho: Any) -> _Plane:
    """From L and sigma²/Q, with Q = p - a_s²(2L + gamma) - a_v²(2L + p)."""
    p, gamma, beta, beta_tilde = moments
    ell_s, ell_v = ell + gamma, ell + p
    a_s, a_v = beta_tilde / ell_s, beta / ell_v
    residual = p - a_s * a_s * (ell + ell_s) - a_v * a_v * (ell + ell_v)
    sine = np.sqrt((1 - rho) * (1 + rho))
    from_s, from_v = sine * a_s, rho * a_v
    across, outside = from_s - from_v, variance * residual
    return _Plane(rho * a_s + sine * a_v, from_s, from_v, outside, across * across + outside, (ell, ell_s, ell_v))


def _outputs(plane: _Plane) -> tuple[Any, Any, Any]:
    """The angle of w_hat to w0 over π, its component along w0, and its squared length."""
    angle = np.arctan2(np.sqrt(plane.off), plane.along)
    return angle / np.pi, plane.along, plane.along * plane.along + plane.off


def _certificate(plane: _Plane, variance: Any, p: Any, error: Any, condition: Any, fitted: Any) -> Any:
    """To first order, a bound of the relative error of every output (of the overlap: relative to |w_hat|).

    error: relative, of the moments; condition: relative, of L. Numerators and denominators of a are off by `error`, and
    its denominators by `condition` of L besides: `twice` is twice the relative error of a, and bounds that of the
    overlap and of its square. Of |w_hat|² off w0 three parts move: what cancels in the plane across w0; sigma²/Q, with
    u/L and slope; and Q, whose terms are at most p.
    """
    ell, ell_s, ell_v = plane.sizes
    twice = 2 * (2 * error + condition * ell / np.minimum(ell_s, ell_v))
    across = np.abs(plane.from_s - plane.from_v) * (np.abs(plane.from_s) + np.abs(plane.from_v))
    moved = twice * (across + variance * p) + plane.outside * condition * (2 - fitted)
    return twice + moved / plane.off
