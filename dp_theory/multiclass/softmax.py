"""The softmax loss of a row: its value, its proximal point, and its curvature there.

The cross-entropy ℓ(h; y) = ln Σ_k exp(h_k) − h_y of scores h (K,) has slope p − e_y with p = softmax(h), and curvature
H = diag(p) − p pᵀ. The proximal point of θ solves h + δ (p − e_y) = θ. Here classes are named so that every label is 0.
"""

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array

PRECISION = 1e-12  # of the proximal point's equation, in units of 1 + the largest score
_STEPS = 500


def cross_entropy(h: Array) -> Array:
    """ℓ(h; 0) (rows,) of scores (rows, K)."""
    ahead = h - h[:, :1]
    largest = ahead.max(1)
    return largest + np.log(np.exp(ahead - largest[:, None]).sum(1))


def prox(score: Array, delta: float, start: Array) -> tuple[Array, Array, Array]:
    """The proximal points h (rows, K) of `score` (rows, K), p = softmax(h), and f = e_0 − p, relatively precise.

    start (rows, K): points nearby, to save steps. Newton's method, damped: along a step Δ the curvature changes by a
    factor of at most exp(t·d) over a share t of it, with d = max Δ − min Δ. So the share t = ln(1 + d)/d lowers the
    objective for certain, and is near 1 where d is small. Raises ConvergenceError where it does not arrive.
    """
    h, missed = start, np.inf
    allowed = PRECISION * (1 + np.abs(score).max())
    for _ in range(_STEPS):
        p = np.exp(h - h.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        f = -p
        f[:, 0] = p[:, 1:].sum(1)
        off = score - h + delta * f
        missed = np.abs(off).max()
        if missed <= allowed:
            return h, p, f
        inverse = 1 / (1 + delta * p)  # of I + δH but for its part of rank one
        u = p * inverse
        step = inverse * off + u * (delta * np.einsum("ik,ik->i", u, off) / u.sum(1))[:, None]
        d = step.max(1) - step.min(1) + np.finfo(float).tiny
        h = h + (np.log1p(d) / d)[:, None] * step
    raise ConvergenceError(f"softmax prox at delta = {delta:g} is missed by {missed:.1e}")


def bend(p: Array, delta: float) -> Array:
    """tr H(I + δH)⁻¹ (rows,), H = diag(p) − p pᵀ for p (rows, K): Σu − Σu²/Σu with u = p/(1 + δp)."""
    u = p / (1 + delta * p)
    total = u.sum(1)
    return total - np.einsum("ik,ik->i", u, u) / total
