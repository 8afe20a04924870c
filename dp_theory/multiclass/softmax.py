"""The softmax loss of a row: ℓ(h; y) = ln Σ_k exp(h_k) - h_y, its curvature H = diag(p) - p pᵀ, and its proximal point
h + δ(p - e_y) = θ (T6.4). Classes are named so that every label is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array

if TYPE_CHECKING:
    from jaxtyping import Float

PRECISION = 1e-12  # of the proximal point's equation, in units of 1 + the largest score
_STEPS = 500  # of Newton's method, at most


def cross_entropy(h: Float[Array, "rows K"]) -> Float[Array, " rows"]:
    """ℓ(h; 0) of each row."""
    ahead = h - h[:, :1]
    largest = ahead.max(1)
    return largest + np.log(np.exp(ahead - largest[:, None]).sum(1))


class ProximalPoints(NamedTuple):
    """The proximal points h of rows."""

    h: Float[Array, "rows K"]
    p: Float[Array, "rows K"]  # softmax(h)
    f: Float[Array, "rows K"]  # e_0 - p, to full relative precision


def prox(score: Float[Array, "rows K"], delta: float, start: Float[Array, "rows K"]) -> ProximalPoints:
    """Damped Newton's method: for a step Δ with d = max Δ - min Δ, t = ln(1 + d)/d lowers the objective for certain."""
    h = np.ascontiguousarray(start.T)  # classes first: sums over them are then sums of long rows, five times as fast
    theta = np.ascontiguousarray(score.T)
    missed = np.inf
    allowed = PRECISION * (1 + np.abs(theta).max())
    for _ in range(_STEPS):
        p = np.exp(h - h.max(0))
        p /= p.sum(0)
        f = -p
        f[0] = p[1:].sum(0)
        off = theta - h + delta * f
        missed = np.abs(off).max()
        if missed <= allowed:
            return ProximalPoints(h.T, p.T, f.T)
        inverse = 1 / (1 + delta * p)  # of I + δH but for its part of rank one
        u = p * inverse
        step = inverse * off + u * (delta * (u * off).sum(0) / u.sum(0))
        d = step.max(0) - step.min(0) + np.finfo(float).tiny
        h = h + np.log1p(d) / d * step
    raise ConvergenceError(f"softmax prox at delta = {delta:g} is missed by {missed:.1e}")


def bend(p: Float[Array, "rows K"], delta: float) -> Float[Array, " rows"]:
    """tr H(I + δH)⁻¹ = Σu - Σu²/Σu with u = p/(1 + δp) (T6.5)."""
    u = (p / (1 + delta * p)).T
    total = u.sum(0)
    return total - (u * u).sum(0) / total
