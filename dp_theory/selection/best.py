"""The best rule of a fixed selector for a budget, over all rules of |t|, in the limit d → ∞.

The ridge is per training row. The best rules keep bands of |t| (T7.10): one and two of them are tried on a grid of
edges, and then the edges of the best move. `gap` is how much is left to first order (T7.11).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.optimize import minimize

from dp_theory.budgets.optimum import minimise
from dp_theory.numerics.checks import (
    Array,
    Float,
    Real,
    require,
    require_in,
    require_kind,
    require_positive,
    require_ridge,
    set_numbers,
)
from dp_theory.numerics.costs import MIN_KEEP, require_costs, require_least_keep
from dp_theory.numerics.quadrature import half_line, pdf
from dp_theory.ridge.theorem1 import error_of
from dp_theory.rules import Rule
from dp_theory.selection.moments import (
    MOMENTS,
    ORDER,
    TINY,
    features,
    ridge_limit,
    ridge_ratio,
    slope_by_moments,
)

# Edges of close panels; none of them is dyadic.
CLOSE_EDGES = tuple((0.0517 * np.arange(1, 140)).tolist())

# edges of bands that are tried
_EDGES = np.concatenate([[0.0], np.geomspace(0.01, 0.3, 5), np.arange(0.5, 4.0, 0.25), [4.5, 5.5, np.inf]])
# Relative error up to which the least share counts as met.
_MIN_MET = 1e-6
# The most by which a search moves the logarithm of the first edge,
_FARTHEST = 5.0
# and that of a distance between the logarithms of edges.
_WIDEST = 1.0
# The part of the error below which another search from there gains nothing.
_SAME = 1e-9
# Ratio of a band's edges, or an edge, below which the lower one counts as 0.
_NO_GAP = 1e-6

# The best ridge is sought as x in r = top/(1 + x), where top = min(1, psi) stands for lam = 0.
_RIDGES = (1e-6, 1e6)


@dataclass(frozen=True)
class Bands(Rule):
    """Keeps the rows whose |t| lies in one of several intervals [low, high), rising and apart from each other."""

    bands: tuple[tuple[float, float], ...]

    @classmethod
    def between(cls, edges: Any) -> "Bands":
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

    def __str__(self) -> str:
        return " or ".join(f"{low:.4g} < |t| < {high:.4g}" for low, high in self.bands)


@dataclass(frozen=True)
class Budget:
    """What may be spent per dimension, and how rows are labelled and trained on.

    The number of rows follows: if a share p is kept, psi = d/kept = (candidate/p + training)/budget.

    Parameters
    ----------
    rho
        Cosine between selector and truth, inside (-1, 1).
    budget
        What may be spent per dimension, positive.
    candidate, training
        Costs of generating a row and of training on it, in the unit of `budget`, at least 0 and not both 0. By default
        it counts training rows.
    lam_per_row
        Ridge per training row, at least 0. None is the best one, 0 the limit without.
    flip
        Probability that a label is flipped, below 1/2.
    least
        The smallest share p of the candidates that a rule may keep, in [1e-12, 1).

    Raises
    ------
    InputError
        For numbers outside their domain.
    """

    rho: float
    budget: float
    candidate: float = 0.0
    training: float = 1.0
    lam_per_row: float | None = None
    flip: float = 0.0
    least: float = MIN_KEEP

    def __post_init__(self) -> None:
        set_numbers(self, "rho", "budget", "candidate", "training", "flip", "least")
        require_in("(-1, 1)", "it is cos(w_s, w0)", rho=self.rho)
        require_positive("it is the cost per dimension", budget=self.budget)
        require_in("[0, 1/2)", "it is a flip rate", flip=self.flip)
        require_least_keep(least=self.least)
        require_costs(candidate=self.candidate, training=self.training)
        require("costs", self.candidate + self.training, self.candidate + self.training > 0, "not all be 0")
        if self.lam_per_row is not None:
            set_numbers(self, "lam_per_row")
            require_ridge(lam_per_row=self.lam_per_row)

    def psi(self, p: Any) -> Any:
        """Dimensions over training rows, where a share p is kept."""
        return (self.candidate / p + self.training) / self.budget

    def features(self, t: Float[Array, " atoms"]) -> Float[Array, "6 atoms"]:
        """E[1, u, w, u², uw, w²; |t|] over the density of |G|, for u = yt and w of dp_theory.selection.moments."""
        return features(self.rho, self.flip, t) + features(self.rho, self.flip, -t)

    def moments(self, bands: Bands) -> Float[Array, " 6"]:
        t, weights = half_line(bands.breakpoints(), ORDER)
        return self.features(t) @ (weights * bands.keep_probability(t))

    def ridge(self, moments: Float[Array, "6 rules"]) -> Float[Array, " rules"]:
        psi = self.psi(moments[0])
        if self.lam_per_row is not None:
            return ridge_ratio(psi, self.lam_per_row)
        top = np.minimum(1.0, psi)

        def error(x: Real) -> Array:
            return self._error(moments, psi, top / (1 + x))

        least, x = minimise(error, *_RIDGES, top.shape)
        return top / (1 + np.where(error(0.0) <= least, 0.0, x))

    def _error(self, moments: Array, psi: Array, r: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            error = error_of(*ridge_limit(moments, psi, self.rho, r))
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
        if p > 0:  # a search may stray to 0, and finds it flat
            psi = float(self.psi(p))
            r = float(self.ridge(moments[:, None])[0])
            if not psi == r == 1:  # the peak, where the error is 1/2 whatever is kept
                return slope_by_moments(moments, psi, self.rho, r, -self.candidate / (self.budget * p**2))
        return np.zeros(MOMENTS)


@dataclass(frozen=True)
class BestRule:
    """The best of all rules for a budget.

    Attributes
    ----------
    rule, test_error
        It, and the error of what is learned from its rows.
    keep
        Share of the candidates that it keeps.
    lam_per_row
        Ridge per training row.
    kept, generated
        Rows per dimension.
    gap
        To first order, how much less the error of a rule nearby may be; no more than all of it.
    needs_d
        Kept share over E[q t²], which d must exceed by far for the limit d → ∞ to hold.
    """

    rule: Bands
    test_error: float
    keep: float
    lam_per_row: float
    kept: float
    generated: float
    gap: float
    needs_d: float


def best_selection(budget: Budget) -> BestRule:
    """The best of all rules for a budget: it keeps bands of |t|.

    Parameters
    ----------
    budget
        What may be spent, and the ridge, flips and least share that it is spent with.

    Returns
    -------
    BestRule
        The bands, with what they cost and reach.

    Raises
    ------
    InputError
        For what is no budget.

    Examples
    --------
    >>> from dp_theory.selection.best import Budget, best_selection
    >>> best = best_selection(Budget(0.9, 1.0, least=0.1))
    >>> str(best.rule), round(best.test_error, 4)
    ('1.38 < |t| < 1.828', 0.1685)
    """
    require_kind("budget", budget, Budget, "a Budget, such as Budget(rho=0.9, budget=1.0)")
    bands = _best_bands(budget)
    moments = budget.moments(bands)
    p = float(moments[0])
    psi = float(budget.psi(p))
    r = float(budget.ridge(moments[:, None])[0])
    return BestRule(
        rule=bands,
        test_error=budget.error(moments),
        keep=p,
        lam_per_row=(1 - r) * (psi / r - 1) if budget.lam_per_row is None else budget.lam_per_row,
        kept=1 / psi,
        generated=1 / (psi * p),
        gap=min(gap(budget, bands), budget.error(moments)),
        needs_d=float(p / moments[3]),
    )


def _best_bands(budget: Budget) -> Bands:
    t, weights = half_line(tuple(_EDGES[1:-1].tolist()), ORDER)
    between = np.add.reduceat(weights * budget.features(t), np.searchsorted(t, _EDGES[:-1]), axis=1)
    below = np.concatenate([np.zeros((MOMENTS, 1)), np.cumsum(between, axis=1)], axis=1)

    def errors(places: np.ndarray) -> Array:
        at_edges = below[:, places]
        moments = (at_edges[..., 1::2] - at_edges[..., ::2]).sum(axis=-1)
        return np.where(moments[0] >= budget.least, budget.errors(moments), np.inf)

    def polished(places: np.ndarray) -> tuple[float, Bands]:
        bands, error = Bands.between(_EDGES[places]), 1.0
        while True:
            moved = _with_best_edges(budget, bands)
            less = budget.error(budget.moments(moved))
            if not less < error * (1 - _SAME):
                return error, bands
            bands, error = moved, less

    one, two = (np.array(list(combinations(range(len(_EDGES)), edges))) for edges in (2, 4))
    least, best = polished(one[errors(one).argmin()])
    of_two = errors(two)
    return polished(two[of_two.argmin()])[1] if of_two.min() < least else best


# -- where the bands end ----------------------------------------------------------------------------------------------


def _with_best_edges(budget: Budget, bands: Bands) -> Bands:
    """Edges other than 0 and infinity move: the logarithm of the first, and those of its distances to the next."""
    edges = bands.edges
    moving = (edges > 0) & np.isfinite(edges)
    if not moving.any():
        return bands
    first, *distance = np.diff(np.log(edges[moving]), prepend=0.0)
    outward = np.tile([-1.0, 1.0], len(edges) // 2)[moving]  # the direction that widens a band

    def steps(z: Array) -> Array:
        return np.append(first + z[0], distance * np.exp(z[1:]))

    def positions(z: Array) -> Array:
        return np.exp(np.cumsum(steps(z)))

    def at(z: Array) -> Bands:
        moved = edges.copy()
        moved[moving] = positions(z)
        if moved[0] < _NO_GAP * min(moved[1], 1.0):
            moved[0] = 0.0
        return Bands.between(moved)

    def jacobian(z: Array) -> Array:
        t = positions(z)
        by_edge = budget.features(t) * 2 * pdf(t) * outward * t
        by_step = np.cumsum(by_edge[:, ::-1], axis=1)[:, ::-1]  # a step moves all edges after it
        return by_step * np.append(1.0, steps(z)[1:])

    def moments(z: Array) -> Array:
        return budget.moments(at(z))

    start = np.zeros(moving.sum())
    scale = budget.error(moments(start))
    share = {
        "type": "ineq",
        "fun": lambda z: np.log(moments(z)[:1].clip(TINY) / budget.least),
        "jac": lambda z: jacobian(z)[:1] / moments(z)[0].clip(TINY),
    }
    result = minimize(
        lambda z: budget.error(moments(z)) / scale,
        start,
        jac=lambda z: budget.slope(moments(z)) @ jacobian(z) / scale,
        method="SLSQP",
        bounds=[(-_FARTHEST, _FARTHEST), *[(-_WIDEST, _WIDEST)] * len(distance)],
        constraints=[share],
        options={"ftol": 1e-14, "maxiter": 100},
    )
    is_allowed = moments(result.x)[0] > budget.least * (1 - _MIN_MET)
    return at(result.x) if is_allowed and result.fun < 1 else bands


def gap(budget: Budget, bands: Bands) -> float:
    """How much less, to first order, the error of a rule nearby may be; 0 at a local optimum."""
    moments = budget.moments(bands)
    slope = budget.slope(moments)
    t, weights = half_line((*bands.breakpoints(), *CLOSE_EDGES), ORDER)
    harm = slope @ budget.features(t)
    # the best rule keeps what harms less than this: only what helps, or more where that is not the least share
    level = max(0.0, float(np.quantile(harm, budget.least, weights=weights, method="inverted_cdf")))
    exchanged = weights @ np.maximum(np.where(bands.keep_probability(t), harm - level, level - harm), 0.0)
    return max(0.0, float(exchanged + level * (moments[0] - budget.least)))
