"""Expectations over standard normals by Gauss-Legendre panels: on the line, on the half-line, and nested."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from dp_theory.numerics.checks import Array, Real

PDF0 = 1 / np.sqrt(2 * np.pi)  # the normal density at 0
_END = 39.0  # the density underflows beyond
_HALF_LINE = np.r_[0, 0.5 ** np.arange(45, 0, -1), np.arange(1, _END + 1)]  # dyadic near 0: any scale is resolved
BLOCK = 1 << 18  # nodes made at a time
BLURRED = 1.0  # thickness from which a step is as smooth as the density
MOST_PANELS = 1000  # of a refinement
_STEP = np.array([-7.0, 0.0, 7.0])  # panel edges around a smooth step, in units of its width


def pdf(t: ArrayLike) -> Array:
    """The density of N(0, 1)."""
    return PDF0 * np.exp(-np.square(t) / 2)


@lru_cache
def gauss(order: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights (order,) on [0, 1].

    numpy's and scipy's outermost weights are off by 1e-13 (order 20) to 1e-10 (order 256) of themselves, which tails
    would notice: Newton's method in extended precision, where the machine has it, makes all of them exact to rounding.
    """
    x = np.polynomial.legendre.leggauss(order)[0].astype(np.longdouble)
    slope = x
    for _ in range(2):
        before, value = np.ones_like(x), x  # Legendre polynomials of degree k - 1 and k
        for k in range(1, order):
            before, value = value, ((2 * k + 1) * x * value - k * before) / (k + 1)
        slope = order * (before - x * value) / ((1 - x) * (1 + x))
        x = x - value / slope
    weights = 1 / ((1 - x) * (1 + x) * slope**2)
    return ((x + 1) / 2).astype(float), weights.astype(float)


def panels(edges: Array, order: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights of the integral from the first edge to the last, `order` nodes in each panel.

    edges: (..., panels + 1), rising; a panel of width 0 has weight 0. Returns two arrays (..., panels·order).
    """
    x, weights = gauss(order)
    width = np.diff(edges)[..., None]
    shape = (*edges.shape[:-1], -1)
    return (edges[..., :-1, None] + width * x).reshape(shape), (width * weights).reshape(shape)


def refined(edges: Array, functions: Callable[[Array], Array], order: int) -> Array:
    """Edges of panels on which `functions`, t (N,) -> values (F, N), are resolved by `order` nodes.

    A panel whose integrals change where it is halved, by more than 1e-13 of the whole, is halved, at most 50 times: a
    jump is closed in on, wherever it is. The work is bounded: what needs more than MOST_PANELS is left as it is.
    """

    def integrals(left: Array, right: Array) -> Array:
        t, weights = panels(np.stack([left, right], axis=-1), order)
        return (weights * functions(t.ravel()).reshape(-1, *t.shape)).sum(-1)

    kept, left, right = [edges[-1:]], edges[:-1], edges[1:]
    whole = integrals(left, right)
    size = np.abs(whole).sum(-1, keepdims=True)
    for _ in range(50):
        middle = (left + right) / 2
        halves = integrals(left, middle), integrals(middle, right)
        rough = (np.abs(whole - halves[0] - halves[1]) > 1e-13 * size).any(0)
        kept.append(left[~rough])
        if not rough.any() or sum(map(len, kept)) + rough.sum() > MOST_PANELS:
            left = left[rough]
            break
        left, right = np.append(left[rough], middle[rough]), np.append(middle[rough], right[rough])
        whole = np.concatenate([half[:, rough] for half in halves], axis=1)
    return np.unique(np.concatenate([*kept, left]))


def half_line(breakpoints: tuple[Real, ...] = (), order: int = 20) -> tuple[Array, Array]:
    """Nodes t > 0 and weights with Σ weights·f(t) = E[f(|G|)], G ~ N(0, 1), for f of any scale.

    f may be unsmooth at `breakpoints` of either sign: numbers, or arrays that broadcast to a shape S; the result is
    (*S, nodes).
    """
    if all(np.ndim(b) == 0 for b in breakpoints):
        return _fixed_half_line(tuple(map(float, breakpoints)), order)
    return _half_line(breakpoints, order)


def _half_line(breakpoints: tuple[Real, ...], order: int) -> tuple[Array, Array]:
    cuts = np.broadcast_arrays(*(np.minimum(np.abs(b), _END) for b in breakpoints))
    shape = cuts[0].shape if cuts else ()
    edges = np.concatenate([np.broadcast_to(_HALF_LINE, (*shape, _HALF_LINE.size)), *(c[..., None] for c in cuts)], -1)
    t, weights = panels(np.sort(edges), order)
    return t, weights * 2 * pdf(t)


_fixed_half_line = lru_cache(_half_line)  # the same few rules are asked for over and over


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

    The integrand is smooth but for steps of thickness `width` (F,) across the F planes {t : planes[f]·t = level[f]},
    planes (F, r). Coordinate by coordinate, the line from -reach to reach is cut where a plane meets it, and around it
    on the scale on which the step is blurred by its own width and by the coordinates still to come. Yields nodes
    (r, N), weights (N,) that sum to 1 over all blocks, and the column of `begun` that each node continues (N,).

    begun: the first coordinates (i, M) of nodes to continue, their weights left to the caller; by default none of
    them, once. end: how many coordinates to stop at.
    """
    planes, level, width = _with_crossings(planes, level, width)
    end = planes.shape[1] if end is None else end

    def extended(t: Array, mass: Array, column: np.ndarray) -> Iterator[tuple[Array, Array, np.ndarray]]:
        """Blocks of whole nodes that begin with the coordinates t (i, N)."""
        i = len(t)
        if i == end:
            yield t, mass, column
            return
        crossing = np.flatnonzero(np.abs(planes[:, i]) > 1e-14)
        slope = planes[crossing, i]
        scale = np.hypot(width[crossing], np.linalg.norm(planes[crossing, i + 1 :], axis=1)) / np.abs(slope)
        crossing, slope, scale = crossing[scale < BLURRED], slope[scale < BLURRED], scale[scale < BLURRED]
        steps = np.unique(_STEP * np.any(scale > 0))
        block = max(1, BLOCK // (order * (3 + len(crossing) * len(steps))))
        for start in range(0, len(mass), block):
            part = slice(start, start + block)
            before, share = t[:, part], mass[part]
            centre = ((level[crossing, None] - planes[crossing, :i] @ before) / slope[:, None]).T  # (N, crossing)
            cuts = centre[..., None] + scale[:, None] * steps
            fixed = np.broadcast_to([-reach, -3.0, 3.0, reach], (len(share), 4))
            edges = np.concatenate([fixed, cuts.reshape(len(share), -1)], axis=1)
            s, weight = panels(np.sort(np.clip(edges, -reach, reach)), order)  # (N, nodes)
            weight = share[:, None] * weight * pdf(s)
            used = weight > 0
            parent = np.broadcast_to(np.arange(len(share))[:, None], s.shape)[used]
            yield from extended(np.concatenate([before[:, parent], s[used][None]]), weight[used], column[part][parent])

    begun = np.empty((0, 1)) if begun is None else begun
    return extended(begun, np.ones(begun.shape[1]), np.arange(begun.shape[1]))


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
