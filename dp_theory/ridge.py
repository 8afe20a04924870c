"""The paper's asymptotics for ridge regression on selected rows: Theorem 1 and Corollary 1.

Evaluated in the plane of w_s and w0, where every quantity is a sum of positive terms (the printed m0 and nu0 cancel:
nu0 - m0² is what is left of two numbers that agree to many digits). With delta = phi·m and u = lam·delta:

    u² + (lam + p - phi)·u - lam·phi = 0, u > 0            the fixed point of m, without dividing by lam
    L = lam·(1 + delta) = lam + u
    a = (beta_tilde/(L + gamma), beta/(L + p))             projection of w_hat on w_s and on v ⟂ w_s
    Q = E[q (y - x·a)²] = p - c·a - L|a|²                  c = (beta_tilde, beta); squared residual within the plane
    sigma² = u²·Q/(L·(lam·phi + u²))                       |w_hat|² outside the plane

The three outputs follow from a and sigma². This is Theorem 1 with r = beta²·m + beta_tilde²·m_tilde, as in the proof in
C.2 (the main text prints other factors there; only these agree with simulation).
"""

from typing import Any

import numpy as np

from dp_theory.problem import Prediction, Problem, Real


def predict(problem: Problem) -> Prediction:
    """Theorem 1 at the problem's parameters, Corollary 1 where lam = 0; broadcasts, floats for scalar parameters.

    At lam = 0 and phi = p the norm diverges: squared_norm = inf, test_error = 1/2.
    """
    p, gamma, beta, beta_tilde, rho, phi, lam = np.broadcast_arrays(
        *problem.rule.moments(problem.rho), problem.rho, problem.phi, problem.lam
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # each formula is evaluated on the other's cells too
        limit = corollary1(p, gamma, beta, beta_tilde, rho, phi) if np.any(lam == 0) else (0.0, 0.0, 0.0)
        ridge = theorem1(p, gamma, beta, beta_tilde, rho, phi, lam) if np.any(lam > 0) else (0.0, 0.0, 0.0)
    test_error, overlap, squared_norm = (np.where(lam > 0, a, b)[()] for a, b in zip(ridge, limit, strict=True))
    return Prediction(test_error, overlap, squared_norm, p[()], _residual(p, phi, lam)[()])


def theorem1(
    p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real, lam: Real
) -> tuple[Any, Any, Any]:
    """Theorem 1: (test_error, overlap, squared_norm) for lam > 0, from a rule's moments. Everything broadcasts."""
    u = _spread(p, phi, lam)
    ell = lam + u
    a_s, a_v = beta_tilde / (ell + gamma), beta / (ell + p)
    in_plane = a_s * a_s + a_v * a_v
    residual = p - beta_tilde * a_s - beta * a_v - ell * in_plane
    u2 = u * u
    return _outputs(a_s, a_v, u2 * residual / (ell * (lam * phi + u2)), rho)


def corollary1(p: Real, gamma: Real, beta: Real, beta_tilde: Real, rho: Real, phi: Real) -> tuple[Any, Any, Any]:
    """Corollary 1: Theorem 1's limit lam → 0+, for phi < p (least squares) and phi > p (interpolation).

    The two phases meet in the divergence at phi = p, where sigma² is inf and the test error 1/2.
    """
    ell = np.maximum(np.subtract(phi, p), 0.0)  # lam·(1 + delta) → 0 below the threshold, phi - p above
    a_s, a_v = beta_tilde / (ell + gamma), beta / (ell + p)
    residual = p - beta_tilde * a_s - beta * a_v - ell * (a_s * a_s + a_v * a_v)
    return _outputs(a_s, a_v, residual * np.minimum(1.0, np.divide(phi, p)) / np.abs(np.subtract(p, phi)), rho)


def _spread(p: Any, phi: Any, lam: Any) -> Any:
    """u = lam·phi·m > 0, the fixed point in the head of the module, by the root that does not cancel."""
    b = lam + p - phi
    product = lam * phi
    root = (np.abs(b) + np.sqrt(b * b + 4 * product)) / 2
    return np.where(b < 0, root, product / root)


def _outputs(a_s: Any, a_v: Any, variance: Any, rho: Any) -> tuple[Any, Any, Any]:
    """Angle to w0 over π, component along w0, squared length of the vector (a_s, a_v) plus `variance` off the plane."""
    sine = np.sqrt((1 - rho) * (1 + rho))
    along = rho * a_s + sine * a_v
    across = sine * a_s - rho * a_v
    off = across * across + variance
    return np.arctan2(np.sqrt(off), along) / np.pi, along, along * along + off


def _residual(p: Any, phi: Any, lam: Any) -> Any:
    """|lam·m + p·m/(1 + phi·m) - 1| at the m used by the formulas; its limit where lam = 0."""
    with np.errstate(invalid="ignore"):
        u = np.where(lam > 0, _spread(p, phi, lam), np.maximum(phi - p, 0.0))
        fitted = np.where(u > 0, u / (lam + u), phi / p)  # phi·m/(1 + phi·m)
    return np.abs((u + p * fitted) / phi - 1)
