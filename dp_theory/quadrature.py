"""Gauss-Legendre rules for expectations over standard normals."""

from functools import lru_cache

import numpy as np

PDF0 = 1 / np.sqrt(2 * np.pi)  # the normal density at 0


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
