"""The least value of a smooth function of a rule's moments, over all rules that keep at least a given share of rows.

`explore` moves q on atoms by conditional gradients (Frank and Wolfe 1956) towards bands of margins (T7.10), `polish`
moves their edges, and `gap` is how much is left to first order (T7.11).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize

from dp_theory.numerics.checks import Array
from dp_theory.numerics.quadrature import pdf
from dp_theory.selection.margins import CLOSE_EDGES, TINY, Bands, SelectorView

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_STEPS = 60  # of conditional gradients
_FRACTIONS = np.concatenate([[0.0], np.geomspace(1e-5, 0.5, 18), 1 - np.geomspace(0.4, 1e-5, 17), [1.0]])  # of a step

_CLOSE = 1e-7  # relative gain below which no further step is taken
_SLACK = 0.1  # share of the least share that atoms may miss: `polish` mends it
_LEAST_MET = 1e-6  # relative error up to which the least share counts as met
_FARTHEST = 40.0  # a margin beyond all rows
_NO_GAP = 1e-6  # ratio of a band's edges below which the lower one counts as 0


class LocalOptimum(NamedTuple):
    """The best rule of its neighbours, with its value and its gap."""

    value: float
    bands: Bands
    gap: float


@dataclass(frozen=True)
class RuleSearch:
    """The search for the rule of least value."""

    view: SelectorView
    objective: Any  # it has errors(moments (6, rules)) and slope(moments (6,)), as a Budget
    least: float  # share of the rows that a rule must keep

    def value(self, bands: Bands) -> float:
        return self._value_of(self.view.moments(bands))

    def best_to_first_order(self, slope: Float[Array, " 6"]) -> Float[Array, " atoms"]:
        features = self.view.atoms[1]
        mass = features[0]
        worth = slope @ features / mass.clip(TINY)  # of a row of each atom
        order = np.argsort(worth)
        better = np.cumsum(mass[order]) - mass[order]  # share of the atoms that come before
        needed = np.empty(len(order))
        needed[order] = np.clip((self.least - better) / mass[order].clip(TINY), 0, 1)
        return np.where(worth < 0, 1.0, needed)

    def explore(self, start: Float[Array, " atoms"]) -> Bool[np.ndarray, " atoms"]:
        """Which atoms a rule near a local optimum keeps."""
        features = self.view.atoms[1]
        q = start
        target = start
        moments = features @ start
        for _ in range(_STEPS):
            slope = self.objective.slope(moments)
            target = self.best_to_first_order(slope)
            way = features @ target - moments
            fraction, value = self._best_fraction(moments, way)
            if -slope @ way <= _CLOSE * value:
                break
            q = q + fraction * (target - q)
            moments = moments + fraction * way
        enough = (1 - _SLACK) * self.least
        choices = [choice for choice in (q > 0.5, target > 0.5, start > 0.5) if features[0] @ choice > enough]
        if not choices:  # the least share is below an atom's: the target keeps part of one
            choices = [target > 0]
        found = self.objective.errors(np.stack([features @ choice for choice in choices], axis=1))
        return choices[int(np.argmin(found))]

    def _best_fraction(self, moments: Array, way: Array) -> tuple[float, float]:
        found = self.objective.errors(moments[:, None] + way[:, None] * _FRACTIONS)
        best = int(np.argmin(found))
        low = _FRACTIONS[max(best - 1, 0)]
        high = _FRACTIONS[min(best + 1, len(_FRACTIONS) - 1)]
        finer = np.linspace(low, high, 2 + len(_FRACTIONS) // 5)
        found = self.objective.errors(moments[:, None] + way[:, None] * finer)
        best = int(np.argmin(found))
        return float(finer[best]), float(found[best])

    def polish(self, bands: Bands) -> Bands:
        bands = self.widened(bands)
        edges = MovingEdges(bands, self.view)
        if not edges.count:
            return bands
        at_start = np.zeros(edges.count + 1)
        scale = self._value_of(edges.moments(at_start))

        def value(z: Array) -> float:
            return self._value_of(edges.moments(z)) / scale

        def slope(z: Array) -> Array:
            return self.objective.slope(edges.moments(z)) @ edges.jacobian(z) / scale

        found = minimize(
            value,
            at_start,
            jac=slope,
            method="SLSQP",
            bounds=edges.bounds(),
            constraints=self._constraints(edges),
            options={"ftol": 1e-14, "maxiter": 100},
        )
        is_allowed = edges.moments(found.x)[0] > self.least * (1 - _LEAST_MET)
        return edges.bands(found.x) if is_allowed and found.fun < 1 else bands

    def _value_of(self, moments: Array) -> float:
        return float(self.objective.errors(moments[:, None])[0])

    def _constraints(self, edges: MovingEdges) -> list[dict]:
        def share(z: Array) -> Array:
            return np.log(edges.moments(z)[:1].clip(TINY) / self.least)

        def share_slope(z: Array) -> Array:
            return edges.jacobian(z)[:1] / edges.moments(z)[0].clip(TINY)

        constraints = [{"type": "ineq", "fun": share, "jac": share_slope}]
        if edges.count > 1:
            constraints.append({"type": "ineq", "fun": edges.distances, "jac": lambda z: edges.distance_slopes})
        return constraints

    def widened(self, bands: Bands) -> Bands:
        def excess(amount: float) -> float:
            return float(self.view.moments(_widened_by(bands, amount))[0]) - self.least

        if excess(0.0) >= 0:
            return bands
        amount = brentq(excess, 0.0, _FARTHEST, xtol=1e-16)
        return _widened_by(bands, amount)  # pyrefly: ignore[bad-argument-type]

    def gap(self, bands: Bands) -> float:
        """How much less, to first order, the value of a rule nearby may be; 0 at a local optimum."""
        moments = self.view.moments(bands)
        slope = self.objective.slope(moments)
        margin, weights = self.view.nodes((*bands.breaks, *CLOSE_EDGES))
        features = self.view.features(margin)
        worth = slope @ features + self._level(bands, moments, slope) * features[0]
        kept = bands(margin, 1.0)
        return float(weights @ np.maximum(np.where(kept, worth, -worth), 0.0))

    def _level(self, bands: Bands, moments: Array, slope: Array) -> float:
        """Minus the worth below which rows are kept."""
        edges = bands.edges
        features = self.view.features(edges[np.isfinite(edges) & (bands.labels | (edges > 0))])
        if moments[0] >= self.least * (1 + _LEAST_MET) or not features.size:
            return 0.0
        return min(0.0, float(-np.mean(slope @ features / features[0].clip(TINY))))


def _widened_by(bands: Bands, amount: float) -> Bands:
    """Bands that meet become one."""
    wider: list[tuple[float, float]] = []
    for low, high in bands.bands:
        low = low - amount if bands.labels else max(low - amount, 0.0)
        high = high + amount
        if wider and low <= wider[-1][1]:
            low = wider.pop()[0]
        wider.append((low, high))
    return Bands(tuple(wider), bands.labels)


class MovingEdges:
    """Finite edges other than 0 move with z, the last the logarithm of a common factor.

    A narrow window around 0 may depend a million times more on its asymmetry than on its width, hence the factor.
    """

    _UNIT = 0.1  # of the distance of an edge to the next one, or to 0
    _LEAST_UNIT = 1e-12  # of the largest edge: edges may coincide
    _LARGEST_LOG = 3.0  # of the common factor

    def __init__(self, bands: Bands, view: SelectorView) -> None:
        self._view = view
        self._labels = bands.labels
        self._edges = bands.edges
        self._moves = np.isfinite(self._edges) & (self._edges != 0)
        self._outward = np.tile([-1.0, 1.0], len(self._edges) // 2)[self._moves]  # direction that widens a band
        self._start = self._edges[self._moves]
        if self.count:
            to_left = np.diff(self._start, prepend=-np.inf)
            to_right = np.diff(self._start, append=np.inf)
            self._scale = np.abs(self._start).max()
            nearest = np.minimum.reduce((to_left, to_right, np.abs(self._start)))
            self._unit = self._UNIT * np.maximum(nearest / self._scale, self._LEAST_UNIT)
            self._unit_differences = np.asarray(np.diff(np.diag(self._unit), axis=0), float)  # (edges - 1, edges)

    @property
    def count(self) -> int:
        return len(self._start)

    def _positions(self, z: Array) -> Array:
        return np.exp(z[-1]) * (self._start + self._scale * self._unit * z[:-1])

    def bands(self, z: Array) -> Bands:
        edges = self._edges.copy()
        edges[self._moves] = np.sort(self._positions(z))
        if not self._labels and edges[0] < _NO_GAP * edges[1]:  # a window around the boundary
            edges[0] = 0.0
        return Bands.between(edges, self._labels)

    def moments(self, z: Array) -> Array:
        return self._view.moments(self.bands(z))

    def jacobian(self, z: Array) -> Array:
        edges = self._positions(z)
        by_edge = self._view.features(edges) * 2 * pdf(edges) * self._outward
        return np.column_stack([by_edge * np.exp(z[-1]) * self._scale * self._unit, by_edge @ edges])

    def bounds(self) -> list[tuple[float, float]]:
        low = np.full(self.count + 1, -np.inf)
        if not self._labels:
            low[:-1] = -self._start / self._scale / self._unit * (1 - 1e-9)
        return list(zip(low, [np.inf] * self.count + [self._LARGEST_LOG], strict=True))

    def distances(self, z: Array) -> Array:
        return np.diff(self._start) / self._scale + self._unit_differences @ z[:-1]

    @cached_property
    def distance_slopes(self) -> Array:
        return np.column_stack([self._unit_differences, np.zeros(self.count - 1)])
