"""The best rule of a fixed selector for a budget, over all rules.

The learner is Theorem 1's, with the ridge per training row, as in dp_theory.budgets.optimum; the selector is at cosine
rho to the truth and independent of the rows. A budget counts, per dimension, what an axis of dp_theory.numerics.costs
does. Limits d → ∞.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_theory.numerics.checks import Array, require, require_magnitude, require_number
from dp_theory.numerics.costs import SMALLEST_KEEP, TRAINING_COST, require_axis, require_costs
from dp_theory.selection.influence import by_moments, learner, ridge_ratio, slopes
from dp_theory.selection.margins import FEATURES, Bands, View
from dp_theory.selection.search import Found, answer, explore, gap, polish

RANDOM_STARTS = 2
_LOGITS = np.append(np.arange(-12.0, 13.0), 40.0)  # of r over its largest value; the last is lam = 0


@dataclass(frozen=True)
class Budget:
    """What a scalar problem may spend per dimension, and how rows are labelled and trained on.

    candidate, training: cost of generating a row and of training on it, in the unit of `budget`; the number of rows
    follows: psi = d/kept = (candidate/p + training)/budget. lam: ridge per training row, None for the best one, 0 for
    the limit without. least: the smallest share p of the candidates that a rule may keep.

    Raises InputError for parameters outside their domain.
    """

    rho: float
    budget: float
    candidate: float
    training: float
    lam: float | None = None
    flip: float = 0.0
    least: float = SMALLEST_KEEP

    def __post_init__(self) -> None:
        given = {"rho": self.rho, "budget": self.budget, "flip": self.flip, "smallest keep": self.least}
        given |= {} if self.lam is None else {"lam": self.lam}
        require_number(**given)
        require("rho", self.rho, abs(self.rho) < 1, "lie in (-1, 1): it is cos(w_s, w0)")
        require("budget", self.budget, 0 < self.budget < np.inf, "be positive: it is the cost per dimension")
        require("flip", self.flip, 0 <= self.flip < 0.5, "lie in [0, 1/2): it is a flip rate")
        require("smallest keep", self.least, 0 < self.least < 1, "lie in (0, 1): it is a kept fraction")
        require_costs(candidate=self.candidate, training=self.training)
        require("costs", self.candidate + self.training, self.candidate + self.training > 0, "not all be 0")
        require("lam", given.get("lam", 0), 0 <= given.get("lam", 0) < np.inf, "be at least 0 and finite")
        require_magnitude(budget=self.budget, lam=given.get("lam", 0))

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
        """A budget of kept rows, generated rows or compute: 1 to generate a row, training_cost to train on it.

        training_cost: TRAINING_COST unless given, and only for axis "compute".
        """
        require_axis(axis, training_cost=training_cost)
        training_cost = TRAINING_COST if training_cost is None else training_cost
        candidate, training = {"kept": (0.0, 1.0), "generated": (1.0, 0.0), "compute": (1.0, training_cost)}[axis]
        return cls(rho, budget, candidate, training, lam, flip, smallest_keep)

    def psi(self, p: Any) -> Any:
        """Dimensions over training rows, where a share p is kept."""
        return (self.candidate / p + self.training) / self.budget

    def ridge(self, moments: Array) -> Array:
        """r of the best ridge, or of lam, for moments (6, N): (N,)."""
        psi = self.psi(moments[0])
        if self.lam is not None:
            return ridge_ratio(psi, self.lam)
        top = np.minimum(1.0, psi)

        def error(logit: Array) -> Array:
            return self._error(moments[:, None], psi, top / (1 + np.exp(-logit)))

        at = np.broadcast_to(_LOGITS[:, None], (len(_LOGITS), len(psi)))
        best, limit = at[error(at)[:-1].argmin(axis=0), 0], _LOGITS[-1]
        for spacing in 2.0 ** -np.arange(9):  # by parabolas
            low, here, high = error(best + spacing * np.array([[-1.0], [0.0], [1.0]]))
            bend = np.maximum(low - 2 * here + high, 1e-300)
            best = best + spacing * np.clip((low - high) / (2 * bend), -2, 2)
        choices = np.stack([best, np.full_like(best, limit)])
        best = np.where(error(choices)[1] <= error(choices)[0], limit, best)
        return top / (1 + np.exp(-best))

    def _error(self, moments: Array, psi: Array, r: Array) -> Array:
        """The test error where some rows are kept; at the ridgeless peak, psi = r = 1, it is 1/2."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = learner(moments, psi, self.rho, r).test_error
        return np.where(np.isnan(found), 0.5, found)

    def errors(self, moments: Array) -> Array:
        """Test errors (N,) of rules with moments (6, N)."""
        some = moments[0] > 0  # of no rows nothing is learned
        error = np.full(moments.shape[1], 0.5)
        kept = moments[:, some]
        if some.any():
            error[some] = self._error(kept, self.psi(kept[0]), self.ridge(kept))
        return error

    def slope(self, moments: Array) -> Array:
        """Derivative (6,) of the test error by moments (6,); at the best ridge its own change is of second order."""
        p = float(moments[0])
        if p == 0:  # a search may stray there, and finds it flat
            return np.zeros(FEATURES)
        psi = float(self.psi(p))
        r = float(self.ridge(moments[:, None])[0])
        if psi == r == 1:  # the peak, where the error is 1/2 whatever is kept
            return np.zeros(FEATURES)
        at = learner(moments, psi, self.rho, r)
        return by_moments(slopes(at, psi, self.rho, r), moments, -self.candidate / (self.budget * p**2), 0.0)


@dataclass(frozen=True)
class Selection:
    """A rule at its best for a budget.

    keep, lam: share of candidates kept, ridge per training row. kept, generated: rows per dimension. gap: to first
    order, how much less the error of a rule nearby may be; nan for a rule that is best among its kind only. needs_d:
    kept share over E[q t²], which d must exceed by far for the limit d → ∞ to hold.
    """

    rule: Any
    test_error: float
    keep: float
    lam: float
    kept: float
    generated: float
    gap: float
    needs_d: float


def selection(budget: Budget, rule: Any, moments: Array, gap: float = np.nan) -> Selection:
    """What a rule with these moments (6,) gives for the budget."""
    p, psi = float(moments[0]), float(budget.psi(moments[0]))
    r = float(budget.ridge(moments[:, None])[0])
    error = float(budget.errors(moments[:, None])[0])
    ridge = (1 - r) * (psi / r - 1) if budget.lam is None else budget.lam
    return Selection(rule, error, p, ridge, 1 / psi, 1 / (psi * p), gap, float(p / moments[3]))


def best_selection(budget: Budget, *, labels: bool = False, seed: int = 0) -> Selection:
    """The best of all rules of the score, or with `labels` of score and observed label: bands (see `Bands`).

    The best of the local optima found from several starts, the usual rules among them; seed: of the random ones.
    """
    view, best = View(budget.rho, budget.flip, labels), local_optima(budget, labels=labels, seed=seed)[0]
    return selection(budget, best.bands, view.moments(best.bands), best.gap)


def local_optima(budget: Budget, *, labels: bool = False, seed: int = 0) -> list[Found]:
    """Local optima over all rules, the best first, one from each start; equal ones once."""
    view = View(budget.rho, budget.flip, labels)
    seen: list[Bands] = []
    found: list[Found] = []
    for start in starts(budget, view, seed):
        near = view.bands(explore(view, budget.errors, budget.slope, start, budget.least))
        if any(near.close_to(other) for other in seen):
            continue
        bands = polish(view, near, budget.errors, budget.slope, budget.least)
        seen += [near, bands]
        value = float(budget.errors(view.moments(bands)[:, None])[0])
        found.append(Found(value, bands, gap(view, bands, budget.slope, budget.least)))
    return sorted(found, key=lambda one: one.value)


def starts(budget: Budget, view: View, seed: int = 0) -> list[Array]:
    """Where searches begin: q (N,) of keep-all, of the rivals' kinds, and random ones."""
    inf, rng = np.inf, np.random.default_rng(seed)
    kinds = [((-inf, inf),), ((-0.3, 0.3),), ((-inf, -1.5), (1.5, inf)), ((-1, -0.3), (0.3, 1))]
    if view.labels:
        kinds += [((0, inf),), ((-inf, 0),)]
    else:
        kinds = [kind[-1:] if kind[-1][0] >= 0 else ((0.0, kind[-1][1]),) for kind in kinds]
    x = view.atoms[0]
    found = [Bands(kind, view.labels)(x, 1.0) for kind in kinds]
    return [*found, *(answer(view, rng.standard_normal(FEATURES), budget.least) for _ in range(RANDOM_STARTS))]
