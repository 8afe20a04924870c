"""Expectations over standard normals by Gauss-Legendre panels, which end where an integrand jumps or bends."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, owens_t

from dp_theory.numerics.checks import Array, Real

PDF0 = 1 / np.sqrt(2 * np.pi)  # the normal density at 0
_NO_ZERO = 1e-100  # stands for 0, by which Owen's formula would divide
_END = 39.0  # the normal density underflows beyond
# Edges on the half-line. They are dyadic near 0, so that features of any scale are resolved.
_HALF_LINE = np.r_[0, 0.5 ** np.arange(45, 0, -1), np.arange(1, _END + 1)]

MOST_HALVINGS = 50  # of a panel in a refinement
MOST_PANELS = 1000  # of a refinement
_RESOLVED = 1e-13  # a panel is fine enough where halving it changes less than this of the whole integral

BLOCK = 1 << 18  # nodes that nested quadrature makes at a time
BLURRED = 1.0  # thickness from which a step is as smooth as the normal density
_STEP_EDGES = np.array([-7.0, 0.0, 7.0])  # panel edges around a smooth step, in units of its thickness
_PARALLEL = 1e-14  # a plane whose slope along a coordinate is smaller does not cut its line


def pdf(t: ArrayLike) -> Array:
    """The density of N(0, 1)."""
    return PDF0 * np.exp(-np.square(t) / 2)


def sine_of(cosine: Real) -> Real:
    """√(1 - cosine²), without cancellation."""
    return np.sqrt((1 - cosine) * (1 + cosine))


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
    """Nodes and weights on [0, 1], exact to rounding; the outermost of numpy and scipy are off by 1e-13 to 1e-10."""
    x = np.polynomial.legendre.leggauss(order)[0].astype(np.longdouble)
    slope = np.ones_like(x)
    for _ in range(2):  # steps of Newton's method
        before = np.ones_like(x)
        value = x
        for k in range(1, order):  # the polynomials of degree k - 1 and k
            before, value = value, ((2 * k + 1) * x * value - k * before) / (k + 1)
        slope = order * (before - x * value) / ((1 - x) * (1 + x))
        x = x - value / slope
    weights = 1 / ((1 - x) * (1 + x) * slope**2)
    return ((x + 1) / 2).astype(float), weights.astype(float)


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
    for _ in range(MOST_HALVINGS):
        middle = (left + right) / 2
        first = _panel_integrals(functions, left, middle, order)
        second = _panel_integrals(functions, middle, right, order)
        rough = (np.abs(whole - first - second) > _RESOLVED * size).any(0)
        kept.append(left[~rough])
        if not rough.any() or sum(map(len, kept)) + rough.sum() > MOST_PANELS:
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


def nested(
    planes: Array,
    level: Array,
    width: Array,
    order: int,
    reach: float,
    begun: Array | None = None,
    end: int | None = None,
) -> Iterator[tuple[Array, Array, np.ndarray]]:
    """Nested Gauss-Legendre nodes and weights for r independent standard normals, in blocks that fit into memory.

    The integrand may step across planes {t : planes[f]·t = level[f]}, of thickness width[f]; lines are cut where a
    plane meets them. `begun` (i, M) are the first i coordinates of nodes to continue, and `end` is the coordinate to
    stop at. Yields nodes (r, N), weights (N,) and the column of `begun` of each node.
    """
    planes, level, width = _with_crossings(planes, level, width)
    end = planes.shape[1] if end is None else end

    def blocks(t: Array, mass: Array, column: np.ndarray) -> Iterator[tuple[Array, Array, np.ndarray]]:
        i = len(t)
        if i == end:
            yield t, mass, column
            return
        crossing = np.flatnonzero(np.abs(planes[:, i]) > _PARALLEL)
        still_to_come = np.linalg.norm(planes[crossing, i + 1 :], axis=1)
        scale = np.hypot(width[crossing], still_to_come) / np.abs(planes[crossing, i])
        crossing, scale = crossing[scale < BLURRED], scale[scale < BLURRED]
        steps = np.unique(_STEP_EDGES * np.any(scale > 0))  # sharp steps need no edges around them
        at_once = max(1, BLOCK // (order * (3 + len(crossing) * len(steps))))
        for start in range(0, len(mass), at_once):
            block = slice(start, start + at_once)
            before = t[:, block]
            # where each crossing plane meets the line
            met = (level[crossing, None] - planes[crossing, :i] @ before) / planes[crossing, i, None]
            cuts = (met.T[..., None] + scale[:, None] * steps).reshape(before.shape[1], -1)
            fixed = np.broadcast_to([-reach, -3.0, 3.0, reach], (len(cuts), 4))
            edges = np.clip(np.concatenate([fixed, cuts], axis=1), -reach, reach)
            s, weight = panels(np.sort(edges), order)
            weight = mass[block, None] * weight * pdf(s)
            used = weight > 0
            parent = np.broadcast_to(np.arange(len(s))[:, None], s.shape)[used]
            longer = np.concatenate([before[:, parent], s[used][None]])
            yield from blocks(longer, weight[used], column[block][parent])

    start = np.empty((0, 1)) if begun is None else begun
    columns = start.shape[1]
    return blocks(start, np.ones(columns), np.arange(columns))


def _with_crossings(planes: Array, level: Array, width: Array) -> tuple[Array, Array, Array]:
    """Where two planes cross along the coordinate integrated first, the inner integral has a kink: one plane more."""
    for i in range(planes.shape[1] - 1, 0, -1):
        slope = planes[:, i]
        pairs = list(combinations(np.flatnonzero(np.abs(slope) > _PARALLEL), 2))
        f, g = np.array(pairs, int).reshape(-1, 2).T
        crossing = planes[f] / slope[f, None] - planes[g] / slope[g, None]
        crossing[:, i:] = 0.0
        blurred = np.hypot(width, np.linalg.norm(planes[:, i + 1 :], axis=1))
        thickness = np.hypot(blurred[f] / slope[f], blurred[g] / slope[g])
        sharp = thickness < 0.5 * np.linalg.norm(crossing, axis=1)  # a thicker one is no kink
        planes = np.concatenate([planes, crossing[sharp]])
        level = np.concatenate([level, (level[f] / slope[f] - level[g] / slope[g])[sharp]])
        width = np.concatenate([width, thickness[sharp]])
    return planes, level, width
