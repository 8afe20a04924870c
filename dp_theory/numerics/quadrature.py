"""Expectations over standard normals by Gauss-Legendre panels, which end where an integrand jumps or bends."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, owens_t

from dp_theory.numerics.checks import Array, Real

# The normal density at 0.
PDF0 = 1 / np.sqrt(2 * np.pi)
# Stands for 0, by which Owen's formula would divide.
_NO_ZERO = 1e-100
# The normal density underflows beyond.
_END = 39.0
# Edges on the half-line. They are dyadic near 0, so that features of any scale are resolved.
_HALF_LINE = np.r_[0, 0.5 ** np.arange(45, 0, -1), np.arange(1, _END + 1)]

# The most halvings of a panel in a refinement.
MAX_HALVINGS = 50
# The most panels of a refinement.
MAX_PANELS = 1000
# A panel is fine enough where halving it changes less than this of the whole integral.
_RESOLVED = 1e-13


def pdf(t: ArrayLike) -> Array:
    """The density of N(0, 1)."""
    return PDF0 * np.exp(-np.square(t) / 2)


def both_below(u: ArrayLike, v: ArrayLike, correlation: ArrayLike) -> Array:
    """P(U < u, V < v) of standard normals, by Owen's T function (Owen 1956)."""
    u, v = (np.where(bound == 0, _NO_ZERO, np.clip(bound, -40, 40)) for bound in np.broadcast_arrays(u, v))
    correlation = np.asarray(correlation)
    root = np.sqrt(np.maximum((1 - correlation) * (1 + correlation), 1e-12))
    tails = owens_t(u, (v / u - correlation) / root) + owens_t(v, (u / v - correlation) / root)
    opposite = np.sign(u) * np.sign(v) < 0
    return np.maximum((ndtr(u) + ndtr(v)) / 2 - tails - opposite / 2, 0.0)  # rounding may leave less than 0


@lru_cache
def gauss(order: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1]."""
    x, weights = np.polynomial.legendre.leggauss(order)
    return (x + 1) / 2, weights / 2


def panels(edges: Array, order: int) -> tuple[Array, Array]:
    """Nodes and weights (..., panels·order) over panels whose `edges` rise along the last axis."""
    x, weights = gauss(order)
    width = np.diff(edges)[..., None]
    shape = (*edges.shape[:-1], -1)
    nodes = edges[..., :-1, None] + width * x
    return nodes.reshape(shape), (width * weights).reshape(shape)


def refined(edges: Array, functions: Callable[[Array], Array], order: int) -> Array:
    """Edges of panels on which `order` nodes resolve all `functions`, from t (N,) to (F, N), to 1e-13 of the whole."""
    kept = [edges[-1:]]  # left edges of panels that are fine enough, and the last edge
    left = edges[:-1]
    right = edges[1:]
    whole = _panel_integrals(functions, left, right, order)
    size = np.abs(whole).sum(-1, keepdims=True)
    for _ in range(MAX_HALVINGS):
        middle = (left + right) / 2
        first = _panel_integrals(functions, left, middle, order)
        second = _panel_integrals(functions, middle, right, order)
        rough = (np.abs(whole - first - second) > _RESOLVED * size).any(0)
        kept.append(left[~rough])
        if not rough.any() or sum(map(len, kept)) + rough.sum() > MAX_PANELS:
            left = left[rough]
            break
        left = np.append(left[rough], middle[rough])
        right = np.append(middle[rough], right[rough])
        whole = np.concatenate([first[:, rough], second[:, rough]], axis=1)
    return np.unique(np.concatenate([*kept, left]))


def _panel_integrals(functions: Callable[[Array], Array], left: Array, right: Array, order: int) -> Array:
    t, weights = panels(np.stack([left, right], axis=-1), order)
    return (weights * functions(t.ravel()).reshape(-1, *t.shape)).sum(-1)


def half_line(breakpoints: tuple[Real, ...] = (), order: int = 20) -> tuple[Array, Array]:
    """Nodes t > 0 and weights (*S, nodes) of E[f(|G|)], for f of any scale that may jump or bend at `breakpoints`."""
    if all(np.ndim(b) == 0 for b in breakpoints):
        return _half_line_of_numbers(tuple(map(float, breakpoints)), order)
    return _half_line(breakpoints, order)


def _half_line(breakpoints: tuple[Real, ...], order: int) -> tuple[Array, Array]:
    cuts = np.broadcast_arrays(*(np.minimum(np.abs(b), _END) for b in breakpoints))
    shape = cuts[0].shape if cuts else ()
    everywhere = np.broadcast_to(_HALF_LINE, (*shape, _HALF_LINE.size))
    edges = np.concatenate([everywhere, *(cut[..., None] for cut in cuts)], axis=-1)
    t, weights = panels(np.sort(edges), order)
    return t, weights * 2 * pdf(t)


_half_line_of_numbers = lru_cache(_half_line)  # the same few rules are asked for over and over
