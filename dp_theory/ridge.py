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
from operator import itemgetter
from typing import Any

import numpy as np

from dp_theory.checks import Real
from dp_theory.problem import Prediction, Problem
from dp_theory.rules import Rule

_BLOCK = 8192  # cells evaluated at a time: their intermediate arrays stay in the processor's cache


def predict(problem: Problem) -> Prediction:
    """Theorem 1 at the problem's parameters, Corollary 1 where lam = 0; broadcasts, floats for scalar parameters.

    At lam = 0 and phi = p the norm diverges: squared_norm = inf, test_error = 1/2.
    """
    shape = problem.shape

    def flat(x: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(x, float), shape).reshape(-1)

    rule, at = problem.rule._map(flat), [flat(x) for x in (problem.rho, problem.phi, problem.lam)]
    outputs = np.empty((5, prod(shape)))
    for start in range(0, prod(shape), _BLOCK):
        cells = slice(start, start + _BLOCK)
        block = itemgetter(cells)
        for out, values in zip(outputs, _evaluate(rule._map(block), *map(block, at)), strict=True):
            out[cells] = values
    return Prediction(*(out.reshape(shape)[()] for out in outputs))


def _evaluate(rule: Rule, rho: np.ndarray, phi: np.ndarray, lam: np.ndarray) -> tuple[Any, ...]:
    """The fields of a Prediction, for arrays of one shape."""
    p, gamma, beta, beta_tilde = rule.moments(rho)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 and 1/0 of the ridgeless limit
        u, slope = fixed_point(p, phi, lam)
        ell = lam + u
        fitted = u / ell  # phi·m/(1 + phi·m)
        if not lam.all():  # Corollary 1
            u = np.where(lam > 0, u, np.maximum(phi - p, 0.0))
            ell = lam + u
            fitted = np.where(ell > 0, u / ell, phi / p)
        outputs = _ridge(ell, fitted / slope, p, gamma, beta, beta_tilde, rho)
    return *outputs, p, np.abs((u + p * fitted) / phi - 1)


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Any, Any, Any]:
    """Theorem 1: (test_error, overlap, squared_norm) for lam > 0, from a rule's moments. Everything broadcasts."""
    u, slope = fixed_point(p, phi, lam)
    ell = lam + u
    return _ridge(ell, u / (ell * slope), p, gamma, beta, beta_tilde, rho)


def corollary1(p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real) -> tuple[Any, Any, Any]:
    """Corollary 1: Theorem 1's limit lam → 0+, for phi < p (least squares) and phi > p (interpolation).

    The two phases meet in the divergence at phi = p, where sigma² is inf and the test error 1/2.
    """
    ell = np.maximum(np.subtract(phi, p), 0.0)  # lam·(1 + delta) → 0 below the threshold, phi - p above
    variance = np.minimum(1.0, np.divide(phi, p)) / np.abs(np.subtract(p, phi))
    return _ridge(ell, variance, p, gamma, beta, beta_tilde, rho)


def _ridge(ell: Any, variance: Any, p: Any, gamma: Any, beta: Any, beta_tilde: Any, rho: Any) -> tuple[Any, Any, Any]:
    """Outputs at L and sigma²/Q, by Q = p - a_s²(2L + gamma) - a_v²(2L + p): the angle of (a_s, a_v, sigma) to w0
    over π, its component along w0, and its squared length."""
    ell_s, ell_v = ell + gamma, ell + p
    a_s, a_v = beta_tilde / ell_s, beta / ell_v
    residual = p - a_s * a_s * (ell + ell_s) - a_v * a_v * (ell + ell_v)
    sine = np.sqrt((1 - rho) * (1 + rho))
    along = rho * a_s + sine * a_v
    across = sine * a_s - rho * a_v
    off = across * across + variance * residual
    return np.arctan2(np.sqrt(off), along) / np.pi, along, along * along + off


def fixed_point(p: Any, phi: Any, lam: Any) -> tuple[Any, Any]:
    """u = lam·phi·m > 0 in the head of the module, without cancellation, and 2u + lam + p - phi there."""
    excess = phi - p - lam  # by which the wanted root is larger than the other, in magnitude; negative: smaller
    product = 2 * lam * phi  # of the two magnitudes, twice
    slope = np.sqrt(excess * excess + 2 * product)
    return product / (np.abs(excess) + slope) + np.maximum(excess, 0.0), slope
