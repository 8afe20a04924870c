"""How often two sets of scores name the same class."""

import numpy as np
from scipy.special import ndtr, owens_t

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import panels, pdf


def both_below(u: Array, v: Array, r: float) -> Array:
    """P(U < u, V < v) of standard normals with correlation r, |r| < 1, by Owen's T function."""
    s = np.sqrt((1 - r) * (1 + r))
    u, v = (np.where(x == 0, 1e-100, x) for x in (u, v))
    apart = (np.sign(u) * np.sign(v) < 0) / 2
    return (ndtr(u) + ndtr(v)) / 2 - owens_t(u, (v / u - r) / s) - owens_t(v, (u / v - r) / s) - apart


def disagreement(classes: int, cosine: float) -> float:
    """P(argmax u ≠ argmax v) of K independent pairs (u_k, v_k) of standard normals with correlation `cosine`.

    1 − K E[P(U < u, V < v)^(K − 1)], by quadrature over u + v and u − v. Two classes: arccos(cosine)/π.
    """
    if abs(cosine) == 1:
        return (1 - cosine) / 2 if classes == 2 else 0.0
    half, weights = panels(np.linspace(0.0, 9.0, 7), 16)
    weights = weights * pdf(half)
    t = np.concatenate([-half, half])
    plus, minus = np.sqrt((1 + cosine) / 2) * t[:, None], np.sqrt((1 - cosine) / 2) * half  # u and v may change places
    below = both_below(plus + minus, plus - minus, cosine)
    return float(1 - 2 * classes * np.tile(weights, 2) @ below ** (classes - 1) @ weights)
