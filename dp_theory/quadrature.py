"""Gauss-Legendre rules for expectations over standard normals."""

from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.checks import Array

PDF0 = 1 / np.sqrt(2 * np.pi)  # the normal density at 0
_SPLITS = np.array([-8.0, -2.0, 0.0, 2.0, 8.0])  # panel edges around a smooth step, in units of its width


@lru_cache
def half_line(breakpoints: tuple[float, ...] = (), order: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t > 0 and weights with Σ weights·f(t) = E[f(|G|)], G ~ N(0, 1), up to t = 39 where the density underflows.

    Gauss-Legendre on unit panels, dyadic ones from 1 down to 2^-45 (so any scale around 0 is resolved), cut at
    `breakpoints`.
    """
    edges = np.unique(np.r_[0, 0.5 ** np.arange(45, 0, -1), np.arange(1, 40), [b for b in breakpoints if b < 39]])
    x, weights = gauss(order)
    t = edges[:-1, None] + np.diff(edges)[:, None] * x
    return t.ravel(), (np.diff(edges)[:, None] * weights * 2 * PDF0 * np.exp(-(t**2) / 2)).ravel()


@lru_cache
def gauss(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, weights = np.polynomial.legendre.leggauss(order)
    return (x + 1) / 2, weights / 2


def _with_crossings(planes: Array, level: Array, width: Array) -> tuple[Array, Array, Array]:
    """The planes, and where two of them cross along the coordinate that is integrated first: a kink for the others."""
    for i in range(planes.shape[1] - 1, 0, -1):
        f, g = np.array(list(combinations(np.flatnonzero(np.abs(planes[:, i]) > 1e-14), 2)), int).reshape(-1, 2).T
        slope = planes[:, i]
        blurred = np.hypot(width, np.linalg.norm(planes[:, i + 1 :], axis=1))
        crossing = planes[f] / slope[f, None] - planes[g] / slope[g, None]
        crossing[:, i:] = 0.0
        thickness = np.hypot(blurred[f] / slope[f], blurred[g] / slope[g])
        sharp = thickness < 0.5 * np.linalg.norm(crossing, axis=1)  # a thicker one is no kink
        planes = np.concatenate([planes, crossing[sharp]])
        level = np.concatenate([level, (level[f] / slope[f] - level[g] / slope[g])[sharp]])
        width = np.concatenate([width, thickness[sharp]])
    return planes, level, width


def nested_nodes(planes: Array, level: Array, width: Array, order: int, reach: float) -> tuple[Array, Array]:
    """Nested Gauss-Legendre nodes and weights for r independent standard normals.

    The integrand is smooth but for steps of thickness `width` (F,) across the F planes {t : planes[f]·t = level[f]}.
    Coordinate by coordinate, the line is cut where a plane meets it, at a distance on the scale on which the step is
    blurred by its own width and by the coordinates still to come. Returns t (r, N) and weights (N,) that sum to 1.
    """
    planes, level, width = _with_crossings(planes, level, width)
    x, v = np.polynomial.legendre.leggauss(order)
    t, mass = np.empty((0, 1)), np.ones(1)
    for i in range(planes.shape[1]):
        crossing = np.flatnonzero(np.abs(planes[:, i]) > 1e-14)
        slope = planes[crossing, i, None]
        centre = (level[crossing, None] - planes[crossing, :i] @ t) / slope  # (crossing, N)
        scale = np.hypot(width[crossing], np.linalg.norm(planes[crossing, i + 1 :], axis=1))[:, None] / np.abs(slope)
        edges = (centre + scale * np.unique(_SPLITS * np.any(scale > 0))[:, None, None]).reshape(-1, t.shape[1])
        fixed = np.repeat([[-reach], [-3.0], [3.0], [reach]], t.shape[1], axis=1)
        edges = np.sort(np.clip(np.concatenate([fixed, edges]), -reach, reach), axis=0)
        middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges, axis=0) / 2
        s = middle[..., None] + half[..., None] * x  # (panels, N, order)
        weight = mass[:, None] * half[..., None] * v * pdf(s)
        used = weight > 0
        parent = np.broadcast_to(np.arange(t.shape[1])[:, None], s.shape)[used]
        t, mass = np.concatenate([t[:, parent], s[used][None]]), weight[used]
    return t, mass


def pdf(t: ArrayLike) -> Array:
    return np.exp(-np.square(t) / 2) / np.sqrt(2 * np.pi)
