"""How often two sets of scores name the same class."""

from __future__ import annotations

import numpy as np

from dp_theory.numerics.quadrature import both_below, panels, pdf

_REACH = 9.0  # standard deviations over which is integrated
_PANELS = 6
_ORDER = 16  # of each


def disagreement(classes: int, cosine: float) -> float:
    """P(argmax u ≠ argmax v) of K pairs of standard normals, 1 - K E[P(U < u, V < v)^(K - 1)] (T6.9)."""
    if abs(cosine) == 1:
        return (1 - cosine) / 2 if classes == 2 else 0.0
    half, weights = panels(np.linspace(0.0, _REACH, _PANELS + 1), _ORDER)
    weights = weights * pdf(half)
    t = np.concatenate([-half, half])
    plus = np.sqrt((1 + cosine) / 2) * t[:, None]
    minus = np.sqrt((1 - cosine) / 2) * half  # u - v > 0 suffices, since u and v may change places
    below = both_below(plus + minus, plus - minus, cosine)
    return float(1 - 2 * classes * np.tile(weights, 2) @ below ** (classes - 1) @ weights)
