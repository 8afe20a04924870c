"""The best rule of a fixed selector for a budget, over all rules, in the limit d → ∞. The ridge is per training row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.numerics.checks import Array, require, require_number, require_positive, require_ridge
from dp_theory.numerics.costs import KEEP_DOMAIN, LEAST_KEEP, SMALLEST_KEEP, TRAINING_COST, require_axis, require_costs
from dp_theory.selection.influence import error_slopes, ridge_limit, ridge_ratio, slope_by_moments
from dp_theory.selection.margins import MOMENTS, Bands, SelectorView
from dp_theory.selection.search import LocalOptimum, RuleSearch

if TYPE_CHECKING:
    from jaxtyping import Float

RANDOM_STARTS = 2  # of the searches of `local_optima`

# The best ridge is sought as r = top/(1 + exp(-logit)), where top = min(1, psi) stands for lam = 0.
_LOGITS = np.append(np.arange(-12.0, 13.0), 40.0)  # the last is lam = 0 in double precision
_REFINEMENTS = 16  # halvings of the spacing of the logits, each with a parabola through three of them


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
        require("rho", self.rho, abs(self.rho) < 1, "lie in (-1, 1): it is cos(w_s, w0)")
        require_positive("it is the cost per dimension", budget=self.budget)
        require("flip", self.flip, 0 <= self.flip < 0.5, "lie in [0, 1/2): it is a flip rate")
        require("smallest keep", self.least, LEAST_KEEP <= self.least < 1, KEEP_DOMAIN)
        require_costs(candidate=self.candidate, training=self.training)
        require("costs", self.candidate + self.training, self.candidate + self.training > 0, "not all be 0")
        if self.lam is not None:
            require_number(lam=self.lam)
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

    def view(self, labels: bool = False) -> SelectorView:
        return SelectorView(self.rho, self.flip, labels)

    def ridge(self, moments: Float[Array, "6 rules"]) -> Float[Array, " rules"]:
        psi = self.psi(moments[0])
        if self.lam is not None:
            return ridge_ratio(psi, self.lam)
        return self._best_ridge(moments, psi)

    def _best_ridge(self, moments: Array, psi: Array) -> Array:
        top = np.minimum(1.0, psi)

        def error(logit: Array) -> Array:
            return self._error(moments[:, None], psi, top / (1 + np.exp(-logit)))

        ridgeless = _LOGITS[-1]
        grid = np.broadcast_to(_LOGITS[:, None], (len(_LOGITS), len(psi)))
        best = grid[error(grid)[:-1].argmin(axis=0), 0]
        for spacing in 2.0 ** -np.arange(_REFINEMENTS):
            low, here, high = error(best + spacing * np.array([[-1.0], [0.0], [1.0]]))
            bend = np.maximum(low - 2 * here + high, 1e-300)
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

    def slope(self, moments: Float[Array, " 6"]) -> Float[Array, " 6"]:
        p = float(moments[0])
        if p == 0:  # a search may stray there, and finds it flat
            return np.zeros(MOMENTS)
        psi = float(self.psi(p))
        r = float(self.ridge(moments[:, None])[0])
        if psi == r == 1:  # the peak, where the error is 1/2 whatever is kept
            return np.zeros(MOMENTS)
        slopes = error_slopes(ridge_limit(moments, psi, self.rho, r), psi, self.rho, r)
        return slope_by_moments(slopes, moments, -self.candidate / (self.budget * p**2), 0.0)


@dataclass(frozen=True)
class BestRule:
    """The best of all rules for a budget."""

    rule: Any  # Bands
    test_error: float
    keep: float  # share of the candidates
    lam: float  # per training row
    kept: float  # rows per dimension
    generated: float  # the same
    gap: float  # to first order, how much less the error of a rule nearby may be
    needs_d: float  # kept share over E[q t²], which d must exceed by far for the limit d → ∞ to hold


def rule_for(budget: Budget, rule: Any, moments: Float[Array, " 6"], gap: float) -> BestRule:
    """What a rule gives for the budget."""
    p = float(moments[0])
    psi = float(budget.psi(moments[0]))
    r = float(budget.ridge(moments[:, None])[0])
    return BestRule(
        rule=rule,
        test_error=float(budget.errors(moments[:, None])[0]),
        keep=p,
        lam=(1 - r) * (psi / r - 1) if budget.lam is None else budget.lam,
        kept=1 / psi,
        generated=1 / (psi * p),
        gap=gap,
        needs_d=float(p / moments[3]),
    )


def best_selection(budget: Budget, *, labels: bool = False) -> BestRule:
    """The best of all rules for a budget. It keeps bands of margins.

    Parameters
    ----------
    budget
        What may be spent.
    labels
        Whether rules see the observed label beside the score.
        The result is the best of the local optima found from several starts, the usual rules among them.

    Returns
    -------
    BestRule
        Its `rule` is `Bands`.

    Examples
    --------
    >>> from dp_theory.selection import Budget, best_selection
    >>> best = best_selection(Budget.of(0.9, 1.0, "kept", smallest_keep=0.1))
    >>> str(best.rule), round(best.test_error, 4)
    ('1.38 < |t| < 1.828', 0.1685)
    """
    best = local_optima(budget, labels=labels)[0]
    return rule_for(budget, best.bands, budget.view(labels).moments(best.bands), best.gap)


def local_optima(budget: Budget, *, labels: bool = False) -> list[LocalOptimum]:
    """Local optima over all rules, the best first."""
    search = RuleSearch(budget.view(labels), budget, budget.least)
    seen: list[Bands] = []
    found: list[LocalOptimum] = []
    for start in starts(search):
        near = search.view.bands(search.explore(start))
        if any(near.close_to(other) for other in seen):
            continue
        bands = search.polish(near)
        seen += [near, bands]
        found.append(LocalOptimum(search.value(bands), bands, search.gap(bands)))
    return sorted(found, key=lambda one: one.value)


def starts(search: RuleSearch) -> list[Float[Array, " atoms"]]:
    """Searches begin at keep-all, rules of the usual kinds, and random ones."""
    view = search.view
    inf = np.inf
    if view.labels:
        kinds = [
            ((-inf, inf),),
            ((-0.3, 0.3),),
            ((-inf, -1.5), (1.5, inf)),
            ((-1.0, -0.3), (0.3, 1.0)),
            ((0.0, inf),),
            ((-inf, 0.0),),
        ]
    else:
        kinds = [((0.0, inf),), ((0.0, 0.3),), ((1.5, inf),), ((0.3, 1.0),)]
    usual = [Bands(kind, view.labels)(view.atoms[0], 1.0) for kind in kinds]
    rng = np.random.default_rng(0)
    random = [search.best_to_first_order(rng.standard_normal(MOMENTS)) for _ in range(RANDOM_STARTS)]
    return [*usual, *random]
