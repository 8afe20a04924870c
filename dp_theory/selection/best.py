"""The best rule of a fixed selector for a budget, over all rules of |t|, in the limit d → ∞.

The ridge is per training row. Conditional gradients (Frank and Wolfe 1956) move the keep probability q of atoms of |t|
towards bands of |t| (T7.10); then the bands' edges move. `gap` is how much is left to first order (T7.11).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize

from dp_theory.numerics.checks import (
    Array,
    Bool,
    Float,
    Real,
    require,
    require_in,
    require_number,
    require_positive,
    require_ridge,
)
from dp_theory.numerics.costs import SMALLEST_KEEP, TRAINING_COST, require_axis, require_costs, require_least_keep
from dp_theory.numerics.quadrature import half_line, pdf
from dp_theory.rules import Rule
from dp_theory.selection.influence import (
    MOMENTS,
    ORDER,
    TINY,
    features,
    ridge_limit,
    ridge_ratio,
    slope_by_moments,
)

CLOSE_EDGES = tuple((0.0517 * np.arange(1, 140)).tolist())  # edges of close panels; none of them is dyadic

_REACH = 8.3  # largest |t| of atoms; beyond lies a share of 1e-16
_NEGLIGIBLE = 1e-7  # share of what is kept, below which a band or a gap is left out
_SAME_EDGES = 0.01  # relative difference of edges that count as the same
_RANDOM_STARTS = 2
_STEPS = 60  # of conditional gradients
_FRACTIONS = np.concatenate([[0.0], np.geomspace(1e-5, 0.5, 18), 1 - np.geomspace(0.4, 1e-5, 17), [1.0]])  # of a step
_CLOSE = 1e-7  # relative gain below which no further step is taken
_SLACK = 0.1  # share of the least share that atoms may miss: the edges' search mends it
_LEAST_MET = 1e-6  # relative error up to which the least share counts as met
_FARTHEST = 40.0  # |t| beyond all rows
_UNIT = 0.1  # of an edge's move, over its distance to the next one
_NO_GAP = 1e-6  # ratio of a band's edges below which the lower one counts as 0

# The best ridge is sought as r = top/(1 + exp(-logit)), where top = min(1, psi) stands for lam = 0.
_LOGITS = np.append(np.arange(-12.0, 13.0), 40.0)  # the last is lam = 0 in double precision
_REFINEMENTS = 16  # halvings of the spacing of the logits, each with a parabola through three of them


@dataclass(frozen=True)
class Bands(Rule):
    """Keeps the rows whose |t| lies in one of several intervals [low, high), rising and apart from each other."""

    bands: tuple[tuple[float, float], ...]

    @classmethod
    def between(cls, edges: Any) -> Bands:
        """The bands from the first edge to the second, from the third to the fourth, and so on."""
        return cls(tuple((float(low), float(high)) for low, high in np.reshape(edges, (-1, 2))))

    def parameters(self) -> dict[str, Real]:
        return {}

    def breakpoints(self) -> tuple[float, ...]:
        return tuple(edge for edge in self.edges.tolist() if 0 < edge < np.inf)

    def keep_probability(self, t: Real) -> Array:
        return np.any([(np.abs(t) >= low) & (np.abs(t) < high) for low, high in self.bands], axis=0).astype(float)

    @property
    def edges(self) -> Float[Array, " edges"]:
        return np.ravel(self.bands)

    def close_to(self, other: Bands) -> bool:
        one, two = self.edges, other.edges
        return one.shape == two.shape and np.allclose(one, two, rtol=_SAME_EDGES, atol=0.0)

    def wider(self, amount: float) -> Bands:
        """Bands that meet become one."""
        wide: list[tuple[float, float]] = []
        for low, high in self.bands:
            low = max(low - amount, 0.0)
            if wide and low <= wide[-1][1]:
                low = wide.pop()[0]
            wide.append((low, high + amount))
        return Bands(tuple(wide))

    def __str__(self) -> str:
        return " or ".join(f"{low:.4g} < |t| < {high:.4g}" for low, high in self.bands)


@dataclass(frozen=True)
class Budget:
    """What may be spent per dimension, and how rows are labelled and trained on.

    The number of rows follows: if a share p is kept, psi = d/kept = (candidate/p + training)/budget.
    """

    rho: float  # cosine between selector and truth, inside (-1, 1)
    budget: float  # what may be spent per dimension
    candidate: float  # cost of generating a row, in the unit of `budget`
    training: float  # and of training on it
    lam: float | None = None  # ridge per training row; None is the best one, 0 the limit without
    flip: float = 0.0  # probability that a label is flipped, below 1/2
    least: float = SMALLEST_KEEP  # the smallest share p of the candidates that a rule may keep

    def __post_init__(self) -> None:
        require_number(rho=self.rho, budget=self.budget, flip=self.flip, **{"smallest keep": self.least})
        require_in("(-1, 1)", "it is cos(w_s, w0)", rho=self.rho)
        require_positive("it is the cost per dimension", budget=self.budget)
        require_in("[0, 1/2)", "it is a flip rate", flip=self.flip)
        require_least_keep(self.least)
        require_costs(candidate=self.candidate, training=self.training)
        require("costs", self.candidate + self.training, self.candidate + self.training > 0, "not all be 0")
        if self.lam is not None:
            require_ridge(self.lam)

    @classmethod
    def of(
        cls,
        rho: float,
        budget: float,
        axis: str = "compute",
        *,
        training_cost: float | None = None,
        lam: float | None = None,
        flip: float = 0.0,
        smallest_keep: float = SMALLEST_KEEP,
    ) -> Budget:
        """A budget that counts an axis; on "compute" a generated row costs 1, and training on it training_cost."""
        require_axis(axis, training_cost=training_cost)
        training_cost = TRAINING_COST if training_cost is None else training_cost
        candidate, training = {"kept": (0.0, 1.0), "generated": (1.0, 0.0), "compute": (1.0, training_cost)}[axis]
        return cls(rho, budget, candidate, training, lam, flip, smallest_keep)

    def psi(self, p: Any) -> Any:
        """Dimensions over training rows, where a share p is kept."""
        return (self.candidate / p + self.training) / self.budget

    def features(self, t: Float[Array, " atoms"]) -> Float[Array, "6 atoms"]:
        """E[1, u, w, u², uw, w²; |t|] over the density of |G|, for u = yt and w of dp_theory.selection.influence."""
        return features(self.rho, self.flip, t) + features(self.rho, self.flip, -t)

    @cached_property
    def atoms(self) -> tuple[Float[Array, " atoms"], Float[Array, "6 atoms"]]:
        """Rising |t|, and features times weights."""
        t, weights = half_line(CLOSE_EDGES, ORDER)
        seen = t < _REACH
        return t[seen], weights[seen] * self.features(t[seen])

    def moments(self, bands: Bands) -> Float[Array, " 6"]:
        t, weights = half_line(bands.breakpoints(), ORDER)
        return self.features(t) @ (weights * bands.keep_probability(t))

    def ridge(self, moments: Float[Array, "6 rules"]) -> Float[Array, " rules"]:
        psi = self.psi(moments[0])
        if self.lam is not None:
            return ridge_ratio(psi, self.lam)
        top = np.minimum(1.0, psi)

        def error(logit: Array) -> Array:
            return self._error(moments[:, None], psi, top / (1 + np.exp(-logit)))

        ridgeless = _LOGITS[-1]
        grid = np.broadcast_to(_LOGITS[:, None], (len(_LOGITS), len(psi)))
        best = grid[error(grid)[:-1].argmin(axis=0), 0]
        for spacing in 2.0 ** -np.arange(_REFINEMENTS):
            low, here, high = error(best + spacing * np.array([[-1.0], [0.0], [1.0]]))
            bend = np.maximum(low - 2 * here + high, TINY)
            best = best + spacing * np.clip((low - high) / (2 * bend), -2, 2)
        errors = error(np.stack([best, np.full_like(best, ridgeless)]))
        best = np.where(errors[1] <= errors[0], ridgeless, best)
        return top / (1 + np.exp(-best))

    def _error(self, moments: Array, psi: Array, r: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            error = ridge_limit(moments, psi, self.rho, r).test_error
        return np.where(np.isnan(error), 0.5, error)

    def errors(self, moments: Float[Array, "6 rules"]) -> Float[Array, " rules"]:
        """Test errors of rules with these moments, 1/2 for one that keeps no row."""
        some = moments[0] > 0
        error = np.full(moments.shape[1], 0.5)
        kept = moments[:, some]
        if some.any():
            error[some] = self._error(kept, self.psi(kept[0]), self.ridge(kept))
        return error

    def error(self, moments: Float[Array, " 6"]) -> float:
        return float(self.errors(moments[:, None])[0])

    def slope(self, moments: Float[Array, " 6"]) -> Float[Array, " 6"]:
        p = float(moments[0])
        if p == 0:  # a search may stray there, and finds it flat
            return np.zeros(MOMENTS)
        psi = float(self.psi(p))
        r = float(self.ridge(moments[:, None])[0])
        if psi == r == 1:  # the peak, where the error is 1/2 whatever is kept
            return np.zeros(MOMENTS)
        return slope_by_moments(moments, psi, self.rho, r, -self.candidate / (self.budget * p**2), 0.0)


@dataclass(frozen=True)
class BestRule:
    """The best of all rules for a budget."""

    rule: Bands
    test_error: float
    keep: float  # share of the candidates
    lam: float  # per training row
    kept: float  # rows per dimension
    generated: float  # the same
    gap: float  # to first order, how much less the error of a rule nearby may be
    needs_d: float  # kept share over E[q t²], which d must exceed by far for the limit d → ∞ to hold


def best_selection(budget: Budget) -> BestRule:
    """The best of all rules for a budget: it keeps bands of |t|.

    It is the best of the local optima found from several starts, the usual rules among them.

    Examples
    --------
    >>> from dp_theory.selection import Budget, best_selection
    >>> best = best_selection(Budget.of(0.9, 1.0, "kept", smallest_keep=0.1))
    >>> str(best.rule), round(best.test_error, 4)
    ('1.38 < |t| < 1.828', 0.1685)
    """
    best = local_optima(budget)[0]
    moments = budget.moments(best.bands)
    p = float(moments[0])
    psi = float(budget.psi(p))
    r = float(budget.ridge(moments[:, None])[0])
    return BestRule(
        rule=best.bands,
        test_error=budget.error(moments),
        keep=p,
        lam=(1 - r) * (psi / r - 1) if budget.lam is None else budget.lam,
        kept=1 / psi,
        generated=1 / (psi * p),
        gap=best.gap,
        needs_d=float(p / moments[3]),
    )


class LocalOptimum(NamedTuple):
    """The best rule of its neighbours, with its test error and its gap."""

    value: float
    bands: Bands
    gap: float


def local_optima(budget: Budget) -> list[LocalOptimum]:
    """Local optima over all rules, the best first. Searches begin at keep-all, rules of the usual kinds, and random
    ones."""
    usual = [Bands((kind,)) for kind in ((0.0, np.inf), (0.0, 0.3), (1.5, np.inf), (0.3, 1.0))]
    rng = np.random.default_rng(0)
    starts = [bands.keep_probability(budget.atoms[0]) for bands in usual]
    starts += [_best_to_first_order(budget, rng.standard_normal(MOMENTS)) for _ in range(_RANDOM_STARTS)]
    seen: list[Bands] = []
    found: list[LocalOptimum] = []
    for start in starts:
        near = _bands(budget, _explored(budget, start))
        if any(near.close_to(other) for other in seen):
            continue
        bands = _with_best_edges(budget, widened(budget, near))
        seen += [near, bands]
        found.append(LocalOptimum(budget.error(budget.moments(bands)), bands, gap(budget, bands)))
    return sorted(found, key=lambda one: one.value)


# -- which atoms are kept ---------------------------------------------------------------------------------------------


def _best_to_first_order(budget: Budget, slope: Float[Array, " 6"]) -> Float[Array, " atoms"]:
    of_atoms = budget.atoms[1]
    mass = of_atoms[0]
    worth = slope @ of_atoms / mass.clip(TINY)  # of a row of each atom
    order = np.argsort(worth)
    better = np.cumsum(mass[order]) - mass[order]  # share of the atoms that come before
    needed = np.empty(len(order))
    needed[order] = np.clip((budget.least - better) / mass[order].clip(TINY), 0, 1)
    return np.where(worth < 0, 1.0, needed)


def _explored(budget: Budget, start: Float[Array, " atoms"]) -> Bool[np.ndarray, " atoms"]:
    of_atoms = budget.atoms[1]
    q = target = start
    moments = of_atoms @ start
    for _ in range(_STEPS):
        slope = budget.slope(moments)
        target = _best_to_first_order(budget, slope)
        way = of_atoms @ target - moments
        fraction, value = _best_fraction(budget, moments, way)
        if -slope @ way <= _CLOSE * value:
            break
        q = q + fraction * (target - q)
        moments = moments + fraction * way
    enough = (1 - _SLACK) * budget.least
    choices = [choice for choice in (q > 0.5, target > 0.5, start > 0.5) if of_atoms[0] @ choice > enough]
    if not choices:  # the least share is below an atom's: the target keeps part of one
        choices = [target > 0]
    found = budget.errors(np.stack([of_atoms @ choice for choice in choices], axis=1))
    return choices[int(np.argmin(found))]


def _best_fraction(budget: Budget, moments: Array, way: Array) -> tuple[float, float]:
    fractions = _FRACTIONS
    for _ in range(2):
        found = budget.errors(moments[:, None] + way[:, None] * fractions)
        best = int(np.argmin(found))
        value, fraction = float(found[best]), float(fractions[best])
        near = fractions[max(best - 1, 0)], fractions[min(best + 1, len(fractions) - 1)]
        fractions = np.linspace(*near, 2 + len(_FRACTIONS) // 5)
    return fraction, value


def _bands(budget: Budget, kept: Bool[np.ndarray, " atoms"]) -> Bands:
    t, of_atoms = budget.atoms
    mass = of_atoms[0]
    negligible = _NEGLIGIBLE * mass[kept].sum()
    kept = kept.copy()
    for run in np.split(np.arange(len(t)), np.flatnonzero(np.diff(kept)) + 1):
        if mass[run].sum() <= negligible:
            kept[run] = not kept[run[0]]  # as its neighbours
    last = np.flatnonzero(np.diff(kept))
    edges = (t[last] + t[last + 1]) / 2
    return Bands.between(np.concatenate([[0.0] * int(kept[0]), edges, [np.inf] * int(kept[-1])]))


# -- where the bands end ----------------------------------------------------------------------------------------------


def widened(budget: Budget, bands: Bands) -> Bands:
    """Bands that keep the least share."""

    def excess(amount: float) -> float:
        return float(budget.moments(bands.wider(amount))[0]) - budget.least

    return bands if excess(0.0) >= 0 else bands.wider(float(brentq(excess, 0.0, _FARTHEST, xtol=1e-16)))  # pyrefly: ignore[bad-argument-type]


def _with_best_edges(budget: Budget, bands: Bands) -> Bands:
    """Edges other than 0 and infinity move in proportion."""
    edges = bands.edges
    moving = (edges > 0) & np.isfinite(edges)
    if not moving.any():
        return bands
    start = np.log(edges[moving])
    distance = np.diff(start, prepend=-np.inf, append=np.inf)
    unit = np.minimum(_UNIT * np.minimum(distance[:-1], distance[1:]), 1.0)
    outward = np.tile([-1.0, 1.0], len(edges) // 2)[moving]  # the direction that widens a band

    def positions(z: Array) -> Array:
        return np.exp(np.minimum(start + unit * z, np.log(_FARTHEST)))

    def at(z: Array) -> Bands:
        moved = edges.copy()
        moved[moving] = np.sort(positions(z))
        if moved[0] < _NO_GAP * moved[1]:
            moved[0] = 0.0
        return Bands.between(moved)

    def jacobian(z: Array) -> Array:
        t = positions(z)
        return budget.features(t) * 2 * pdf(t) * outward * t * unit

    def moments(z: Array) -> Array:
        return budget.moments(at(z))

    scale = budget.error(moments(0 * start))
    share = {
        "type": "ineq",
        "fun": lambda z: np.log(moments(z)[:1].clip(TINY) / budget.least),
        "jac": lambda z: jacobian(z)[:1] / moments(z)[0].clip(TINY),
    }
    found = minimize(
        lambda z: budget.error(moments(z)) / scale,
        0 * start,
        jac=lambda z: budget.slope(moments(z)) @ jacobian(z) / scale,
        method="SLSQP",
        constraints=[share],
        options={"ftol": 1e-14, "maxiter": 100},
    )
    is_allowed = moments(found.x)[0] > budget.least * (1 - _LEAST_MET)
    return at(found.x) if is_allowed and found.fun < 1 else bands


def gap(budget: Budget, bands: Bands) -> float:
    """How much less, to first order, the error of a rule nearby may be; 0 at a local optimum."""
    moments = budget.moments(bands)
    slope = budget.slope(moments)
    level = 0.0  # minus the worth below which rows are kept
    if moments[0] < budget.least * (1 + _LEAST_MET) and bands.breakpoints():
        at_edges = budget.features(np.array(bands.breakpoints()))
        level = min(0.0, float(-np.mean(slope @ at_edges / at_edges[0].clip(TINY))))
    t, weights = half_line((*bands.breakpoints(), *CLOSE_EDGES), ORDER)
    of_t = budget.features(t)
    worth = slope @ of_t + level * of_t[0]
    return float(weights @ np.maximum(np.where(bands.keep_probability(t), worth, -worth), 0.0))
