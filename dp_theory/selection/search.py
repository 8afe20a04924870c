"""The least value of a smooth function of the moments of a rule, over all rules that keep a given share or more.

Moments are linear in q, and 0 ≤ q ≤ 1: to first order the best change is the rule of 0 and 1 that keeps rows where
slope·features is negative, or below the level at which it keeps the least share. At a local optimum q is that rule
itself. `explore` steps towards it (conditional gradients, Frank and Wolfe 1956) on atoms, `polish` moves the edges of
its bands, `gap` says how far it is from its own answer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import pdf
from dp_theory.selection.margins import FINE, Bands, View

Values = Callable[[Array], Array]  # moments (6, N) -> values (N,)
Slope = Callable[[Array], Array]  # moments (6,) -> derivative (6,)
STEPS = 60
_CLOSE = 1e-7  # relative, what a further step may bring when a search ends
_SLACK = 0.1  # of the least share, which `polish` mends
_FAR = 40.0  # a margin beyond all
_NOTHING = 1e-6  # of a band's end, where its begin is 0
_UNIT = 0.1  # of the distance of an edge to the next
FRACTIONS = np.concatenate([[0.0], np.geomspace(1e-5, 0.5, 18), 1 - np.geomspace(0.4, 1e-5, 17), [1.0]])


class Found(NamedTuple):
    """A local optimum. gap: to first order, how much less the value of a rule nearby may be."""

    value: float
    bands: Bands
    gap: float


def answer(view: View, slope: Array, least: float) -> Array:
    """q (N,) of the atoms that is least in slope·moments, slope (6,), among all that keep a share of `least`."""
    masses = view.atoms[1]
    value = slope @ masses / masses[0].clip(1e-300)
    order = np.argsort(value)
    before = np.cumsum(masses[0][order]) - masses[0][order]
    kept = np.empty(len(order))
    kept[order] = np.clip((least - before) / masses[0][order].clip(1e-300), 0, 1)
    return np.where(value < 0, 1.0, kept)


def explore(
    view: View,
    values: Values,
    slope: Slope,
    start: Array,
    least: float,
    steps: int = STEPS,
    fractions: Array = FRACTIONS,
) -> NDArray[np.bool_]:
    """Which atoms (N,) a local optimum keeps, from start (N,). fractions: of a step, first tried."""
    masses = view.atoms[1]
    q, target, moments = start, start, masses @ start
    for _ in range(steps):
        gradient = slope(moments)
        target = answer(view, gradient, least)
        way = masses @ target - moments
        fraction, value = _along(values, moments, way, fractions)
        if -gradient @ way <= _CLOSE * value:
            break
        q, moments = q + fraction * (target - q), moments + fraction * way
    choices = [choice for choice in (q > 0.5, target > 0.5, start > 0.5) if masses[0] @ choice > (1 - _SLACK) * least]
    choices = choices or [target > 0]  # a least share below an atom's: its answer keeps part of one
    found = values(np.stack([masses @ choice for choice in choices], axis=1))
    return choices[int(np.argmin(found))]


def _along(values: Values, moments: Array, way: Array, fractions: Array) -> tuple[float, float]:
    """The best fraction of a way, and the value there: the best of those given, then of some around it."""
    found = values(moments[:, None] + way[:, None] * fractions)
    best = int(np.argmin(found))
    ends = fractions[max(best - 1, 0)], fractions[min(best + 1, len(fractions) - 1)]
    finer = np.linspace(*ends, 2 + len(fractions) // 5)
    found = values(moments[:, None] + way[:, None] * finer)
    best = int(np.argmin(found))
    return float(finer[best]), float(found[best])


def polish(view: View, bands: Bands, values: Values, slope: Slope, least: float) -> Bands:
    """The bands, widened until they keep the least share, with finite edges moved to the least value nearby.

    Unknowns are the logarithm of the scale and the ratios to it: a narrow window around 0 may depend on its asymmetry
    a million times more than on its width.
    """
    bands = widened(view, bands, least)
    edges = np.array(bands.bands).ravel()
    free = np.isfinite(edges) & (edges != 0)
    if not free.any():
        return bands
    signs, start = np.tile([-1.0, 1.0], len(edges) // 2)[free], edges[free]
    scale = np.abs(start).max()
    distances = np.diff(start, prepend=-np.inf), np.diff(start, append=np.inf), np.abs(start)
    unit = _UNIT * np.maximum(np.minimum.reduce(distances) / scale, 1e-12)  # edges may coincide

    def moved(z: Array) -> Array:
        return np.exp(z[-1]) * (start + scale * unit * z[:-1])

    def at(z: Array) -> Bands:
        new = edges.copy()
        new[free] = np.sort(moved(z))
        if not bands.labels and new[0] < _NOTHING * new[1]:  # a window
            new[0] = 0.0
        return Bands.between(new, bands.labels)

    def moments(z: Array) -> Array:
        return view.moments(at(z))

    def jacobian(z: Array) -> Array:
        """Derivative of the moments (6, unknowns)."""
        x = moved(z)
        by_edge = view.features(x) * 2 * pdf(x) * signs
        return np.column_stack([by_edge * np.exp(z[-1]) * scale * unit, by_edge @ x])

    here = np.zeros(len(start) + 1)
    worth = float(values(moments(here)[:, None])[0])
    gaps = np.diff(np.diag(unit), axis=0)
    constraints = [
        {
            "type": "ineq",
            "fun": lambda z: np.log(moments(z)[:1].clip(1e-300) / least),
            "jac": lambda z: jacobian(z)[:1] / moments(z)[0].clip(1e-300),
        },
        {
            "type": "ineq",
            "fun": lambda z: np.diff(start) / scale + gaps @ z[:-1],
            "jac": lambda z: np.column_stack([gaps, np.zeros(len(gaps))]),
        },
    ]
    low = np.full(len(here), -np.inf)
    if not bands.labels:
        low[:-1] = -start / scale / unit * (1 - 1e-9)
    found = minimize(
        lambda z: float(values(moments(z)[:, None])[0]) / worth,
        here,
        jac=lambda z: slope(moments(z)) @ jacobian(z) / worth,
        method="SLSQP",
        bounds=list(zip(low, [np.inf] * len(start) + [3.0], strict=True)),
        constraints=constraints[: 1 + (len(start) > 1)],
        options={"ftol": 1e-14, "maxiter": 100},
    )
    return at(found.x) if moments(found.x)[0] > least * (1 - 1e-6) and found.fun < 1 else bands


def widened(view: View, bands: Bands, least: float) -> Bands:
    """The bands, if they keep less than a share of `least` with all edges moved outwards until they keep that."""

    def moved(by: float) -> Bands:
        edges: list[tuple[float, float]] = []
        for low, high in bands.bands:
            low, high = low - by if bands.labels else max(low - by, 0.0), high + by
            if edges and low <= edges[-1][1]:
                low = edges.pop()[0]
            edges.append((low, high))
        return Bands(tuple(edges), bands.labels)

    def excess(by: float) -> float:
        return float(view.moments(moved(by))[0]) - least

    if excess(0.0) >= 0:
        return bands
    return moved(brentq(excess, 0.0, _FAR, xtol=1e-16))  # pyright: ignore[reportArgumentType]


def gap(view: View, bands: Bands, slope: Slope, least: float) -> float:
    """To first order, how much less the value of a rule nearby may be: 0 at a local optimum.

    Rows are worth slope·features each; none that is kept may be worth more than one that is not, nor more than 0 unless
    the least share is all that is kept.
    """
    moments = view.moments(bands)
    gradient = slope(moments)
    edges = np.array(bands.bands).ravel()
    features = view.features(edges[np.isfinite(edges) & (bands.labels | (edges > 0))])
    x, weights = view.nodes((*bands.breaks, *FINE))
    level = 0.0
    if moments[0] < least * (1 + 1e-6) and features.size:
        level = min(0.0, float(-np.mean(gradient @ features / features[0].clip(1e-300))))
    worth = gradient @ view.features(x) + level * view.features(x)[0]
    kept = bands(x, 1.0)
    return float(weights @ np.maximum(np.where(kept, worth, -worth), 0.0))
