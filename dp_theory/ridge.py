"""The paper's asymptotics for ridge regression on selected rows: Theorem 1 and Corollary 1.

Evaluated in the plane of w_s and w0, where every quantity is a sum of positive terms (the printed m0 and nu0 cancel:
nu0 - m0² is what is left of two numbers that agree to many digits). With delta = phi·m and u = lam·delta:

    u² + (lam + p - phi)·u - lam·phi = 0, u > 0            the fixed point of m, without dividing by lam
    L = lam·(1 + delta) = lam + u
    a = (beta_tilde/(L + gamma), beta/(L + p))             projection of w_hat on w_s and on v ⟂ w_s
    Q = E[q (y - x·a)²] = p - c·a - L|a|²                  c = (beta_tilde, beta); squared residual within the plane
    sigma² = u·Q/(L·(2u + lam + p - phi))                  |w_hat|² outside the plane

The three outputs follow from a and sigma². This is Theorem 1 with r = beta²·m + beta_tilde²·m_tilde, as in the proof in
C.2 (the main text prints other factors there; only these agree with simulation).
"""

from math import prod
from typing import Any

import numpy as np

from dp_theory.problem import Prediction, Problem, Real
from dp_theory.rules import Rule

_BLOCK = 8192  # cells evaluated at a time: their intermediate arrays stay in the processor's cache


def predict(problem: Problem) -> Prediction:
    """Theorem 1 at the problem's parameters, Corollary 1 where lam = 0; broadcasts, floats for scalar parameters.

    At lam = 0 and phi = p the norm diverges: squared_norm = inf, test_error = 1/2.
    """
    rule, shape = problem.rule, problem.shape
    parameters = [*rule._parameters().values(), problem.rho, problem.phi, problem.lam]
    inputs = [np.broadcast_to(np.asarray(x, float), shape).reshape(-1) for x in parameters]
    outputs = np.empty((5, prod(shape)))
    for start in range(0, prod(shape), _BLOCK):
        *own, rho, phi, lam = (x[start : start + _BLOCK] for x in inputs)
        values = iter(own)
        for out, result in zip(outputs, _evaluate(rule._map(lambda _: next(values)), rho, phi, lam), strict=True):
            out[start : start + _BLOCK] = result
    return Prediction(*(out.reshape(shape)[()] for out in outputs))


def _evaluate(rule: Rule, rho: np.ndarray, phi: np.ndarray, lam: np.ndarray) -> tuple[Any, ...]:
    """The fields of a Prediction, for arrays of one shape."""
    p, gamma, beta, beta_tilde = rule.moments(rho)
    if (lam > 0).all():
        u, slope = fixed_point(p, phi, lam)
        outputs = _ridge(u, slope, p, gamma, beta, beta_tilde, rho, lam)
        return *outputs, p, np.abs((u + p * (u / (lam + u))) / phi - 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # each formula is evaluated on the other's cells too
        u, slope = fixed_point(p, phi, lam)
        ridge = _ridge(u, slope, p, gamma, beta, beta_tilde, rho, lam)
        limit = corollary1(p, gamma, beta, beta_tilde, rho, phi)
        u = np.where(lam > 0, u, np.maximum(phi - p, 0.0))
        fitted = np.where(u > 0, u / (lam + u), phi / p)  # phi·m/(1 + phi·m)
    outputs = (np.where(lam > 0, a, b) for a, b in zip(ridge, limit, strict=True))
    return *outputs, p, np.abs((u + p * fitted) / phi - 1)


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Any, Any, Any]:
    """Theorem 1: (test_error, overlap, squared_norm) for lam > 0, from a rule's moments. Everything broadcasts."""
    return _ridge(*fixed_point(p, phi, lam), p, gamma, beta, beta_tilde, rho, lam)


def _ridge(
    u: Any, slope: Any, p: Any, gamma: Any, beta: Any, beta_tilde: Any, rho: Any, lam: Any
) -> tuple[Any, Any, Any]:
    """Theorem 1 at the solution of its fixed point, with Q = p - a_s²(2L + gamma) - a_v²(2L + p)."""
    ell = lam + u
    ell_s, ell_v = ell + gamma, ell + p
    a_s, a_v = beta_tilde / ell_s, beta / ell_v
    residual = p - a_s * a_s * (ell + ell_s) - a_v * a_v * (ell + ell_v)
    return _outputs(a_s, a_v, u * residual / (ell * slope), rho)


def corollary1(p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real) -> tuple[Any, Any, Any]:
    """Corollary 1: Theorem 1's limit lam → 0+, for phi < p (least squares) and phi > p (interpolation).

    The two phases meet in the divergence at phi = p, where sigma² is inf and the test error 1/2.
    """
    ell = np.maximum(np.subtract(phi, p), 0.0)  # lam·(1 + delta) → 0 below the threshold, phi - p above
    a_s, a_v = beta_tilde / (ell + gamma), beta / (ell + p)
    residual = p - beta_tilde * a_s - beta * a_v - ell * (a_s * a_s + a_v * a_v)
    return _outputs(a_s, a_v, residual * np.minimum(1.0, np.divide(phi, p)) / np.abs(np.subtract(p, phi)), rho)


def fixed_point(p: Any, phi: Any, lam: Any) -> tuple[Any, Any]:
    """u = lam·phi·m > 0 in the head of the module, by the root that does not cancel, and 2u + lam + p - phi there."""
    half = (phi - p - lam) / 2
    product = lam * phi
    root = np.sqrt(half * half + product)
    large = np.abs(half) + root
    return np.where(half > 0, large, product / large), 2 * root


def _outputs(a_s: Any, a_v: Any, variance: Any, rho: Any) -> tuple[Any, Any, Any]:
    """Angle to w0 over π, component along w0, squared length of the vector (a_s, a_v) plus `variance` off the plane."""
    sine = np.sqrt((1 - rho) * (1 + rho))
    along = rho * a_s + sine * a_v
    across = sine * a_s - rho * a_v
    off = across * across + variance
    return np.arctan2(np.sqrt(off), along) / np.pi, along, along * along + off
