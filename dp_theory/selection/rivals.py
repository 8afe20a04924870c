"""The usual rules at their best for a budget, beside the best of all rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize.elementwise import find_root

from dp_theory.budgets.least_error import least_error
from dp_theory.numerics.checks import Array
from dp_theory.rules import RULES, Entropy, KeepAll, Rule
from dp_theory.rules.entropy_rule import entropy_deficit
from dp_theory.selection.margins import Bands, SelectorView
from dp_theory.selection.static import BestRule, Budget, best_selection, rule_for

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

_KAPPAS = (1 / 8, 1000)  # between which the entropy rule's kappa is sought
_LOG_OMEGAS = (-30.0, 25.0)  # between which ln|omega| is sought
_STEEPEST = np.log(1e4)  # largest ln of -omega: beyond, q rises too steeply for the rule's own quadrature
_MOST_KEPT = -1e-6  # ln of the largest kept share: all rows are kept at omega = 0 only
_FIRST_POINTS = 13  # of the first grid, along kappa and along the kept share
_FINER_POINTS = 7  # of each finer grid, which spans one spacing to either side
_SHRINK = 3  # by which the spacing falls from grid to grid
_SAME = 1e-6  # relative difference of errors that is none
_FINEST = 1e-3  # spacing of logarithms at which the search ends


def compare_selections(budget: Budget) -> pd.DataFrame:
    """The best rule of the score, the best of score and label, and the usual rules at their best.

    Parameters
    ----------
    budget
        What may be spent.

    Returns
    -------
    DataFrame
        A row for each, the best first. Columns are name, the fields of `BestRule` with the rule in words, and excess:
        the error over that of the best rule of the score, less 1.
    """
    import pandas as pd

    usual = rivals(budget)
    best = _no_worse(best_selection(budget), usual.values())
    seeing_labels = _no_worse(best_selection(budget, labels=True), [best])
    found = {"best": best, "best, seeing labels": seeing_labels} | usual
    table = pd.DataFrame([{"name": name, **asdict(one), "rule": _words(one.rule)} for name, one in found.items()])
    table["excess"] = table["test_error"] / found["best"].test_error - 1
    return table.sort_values("test_error", kind="stable", ignore_index=True)


def _no_worse(best: BestRule, contained: Iterable[BestRule]) -> BestRule:
    """The best of all rules, or one of those that it contains if the search has missed that."""
    other = min(contained, key=lambda one: one.test_error)
    return best if best.test_error <= other.test_error * (1 + _SAME) else other


def _words(rule: Bands | Rule) -> str:
    """The bands, or the parameters of a rule."""
    if isinstance(rule, Bands):
        return str(rule)
    return ", ".join(f"{name} = {float(value):.4g}" for name, value in rule.parameters().items()) or "-"


def rivals(budget: Budget) -> dict[str, BestRule]:
    """keep-hard, keep-easy, the entropy rule and keep-all by name, each at its best for the budget."""
    keep_all = rule_for(budget, KeepAll(), budget.view().atoms[1].sum(axis=1))
    found = {name: _best_of_kind(budget, name, keep_all) for name in ("keep-hard", "keep-easy")}
    found["entropy"] = min(rule_for(budget, *best_entropy(budget)), keep_all, key=lambda one: one.test_error)
    found["keep-all"] = keep_all
    return found


def _best_of_kind(budget: Budget, name: str, keep_all: BestRule) -> BestRule:
    """The best rule of a kind that its kept fraction decides. Each kind has `keep_all` as a limit."""
    least = least_error(name, budget.rho, budget.psi, lam=budget.lam, flip=budget.flip, smallest_keep=budget.least)
    kind = RULES[name]
    rule = kind.with_keep_fraction(float(min(least.keep, kind.largest_keep)))
    p, gamma, beta, beta_tilde = rule.moments(budget.rho).flipped(budget.flip)
    found = rule_for(budget, rule, np.array([p, beta_tilde, beta, gamma, 0.0, p]))
    return min(found, keep_all, key=lambda one: one.test_error)


def best_entropy(budget: Budget) -> tuple[Entropy, Float[np.ndarray, " 6"]]:
    """The best entropy rule for a budget, of either sign of omega and any kappa, and its moments.

    The search goes over a grid of ln kappa, the logarithm of the kept share and the sign, and then over finer grids
    around the best point.
    """
    rules = _EntropyRules(budget.view())
    least_kept = np.log(budget.least)
    lowest, highest = np.log(_KAPPAS)
    log_kappas = np.linspace(lowest, highest, _FIRST_POINTS)
    log_shares = np.linspace(least_kept, _MOST_KEPT, _FIRST_POINTS)
    signs = np.array([1.0, -1.0])
    spacings = np.array([log_kappas[1] - log_kappas[0], log_shares[1] - log_shares[0]])
    while True:
        log_kappa, log_share, sign = (grid.ravel() for grid in np.meshgrid(log_kappas, log_shares, signs))
        kappa = np.exp(log_kappa)
        omega, moments = rules.with_share(kappa, log_share, sign)
        best = int(np.nanargmin(budget.errors(moments)))  # nan: no omega keeps this share
        if spacings.max() < _FINEST:
            return Entropy(float(omega[best]), float(kappa[best])), moments[:, best]
        offsets = np.linspace(-1, 1, _FINER_POINTS)
        log_kappas = np.clip(log_kappa[best] + spacings[0] * offsets, lowest, highest)
        log_shares = np.clip(log_share[best] + spacings[1] * offsets, least_kept, _MOST_KEPT)
        signs = sign[best : best + 1]
        spacings = spacings / _SHRINK


class _EntropyRules:
    """Entropy rules of given kept shares, as a view sees them."""

    def __init__(self, view: SelectorView) -> None:
        t, weights = view.nodes()
        self._t = t
        self._features = weights * view.features(t)  # (6, nodes), with the nodes' weights

    def with_share(self, kappa: Array, log_share: Array, sign: Array) -> tuple[Array, Array]:
        """omega (N,) of this sign with which a rule keeps the share, nan if none does, and its moments (6, N)."""
        # q = exp(-|omega|·exponent)
        exponent = entropy_deficit(kappa[:, None] * self._t) - np.log(2) * (sign < 0)[:, None]
        exponent *= sign[:, None]

        def excess(log_omega: Array, log_share: Array, rule: Array) -> Array:
            """Kept share over the given one, less 1, for rules of these numbers."""
            q = np.exp(-np.exp(log_omega)[:, None] * exponent[rule.astype(int)])
            return q @ self._features[0] / np.exp(log_share) - 1

        ends = (_LOG_OMEGAS[0], np.where(sign > 0, _LOG_OMEGAS[1], _STEEPEST))
        numbers = np.arange(len(log_share))
        omega = np.exp(find_root(excess, ends, args=(log_share, numbers), tolerances={"xrtol": 1e-10}).x)
        return sign * omega, self._features @ np.exp(-omega[:, None] * exponent).T
