"""The usual rules at their best for a budget, beside the best of all rules."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize.elementwise import find_root

from dp_theory.budgets.optimum import least_error
from dp_theory.numerics.checks import Array
from dp_theory.rules import RULES, Entropy, KeepAll, Rule
from dp_theory.rules.entropy import entropy_deficit
from dp_theory.selection.margins import Bands, View
from dp_theory.selection.static import Budget, Selection, best_selection, selection

if TYPE_CHECKING:
    import pandas as pd

_KAPPAS = (1 / 8, 1000)  # of the entropy rule
_STEEPEST = np.log(1e4)  # ln of -omega: beyond, q rises like keep-easy's, too steeply for the rule's own quadrature


def compare_selections(budget: Budget) -> pd.DataFrame:
    """The best rule of the score, of score and label, and the usual rules at their best: a row each, the best first.

    Columns: name, the fields of `Selection` (rule in words), and excess: error over that of the best rule of the score,
    less 1.
    """
    import pandas as pd

    found = {"best": best_selection(budget), "best, seeing labels": best_selection(budget, labels=True)}
    found |= rivals(budget)
    table = pd.DataFrame([{"name": name, **asdict(one), "rule": _words(one.rule)} for name, one in found.items()])
    table["excess"] = table["test_error"] / found["best"].test_error - 1
    return table.sort_values("test_error", kind="stable", ignore_index=True)


def _words(rule: Bands | Rule) -> str:
    """The bands, or the parameters of a rule."""
    if isinstance(rule, Bands):
        return str(rule)
    return ", ".join(f"{name} = {float(value):.4g}" for name, value in rule.parameters().items()) or "-"


def rivals(budget: Budget) -> dict[str, Selection]:
    """keep-hard, keep-easy, the entropy rule and keep-all by name, each at its best."""
    found = {}
    view, options = View(budget.rho, budget.flip), {"lam": budget.lam, "flip": budget.flip}
    for name in ("keep-hard", "keep-easy"):
        keep = least_error(name, budget.rho, budget.psi, smallest_keep=budget.least, **options).keep
        rule = RULES[name].with_keep_fraction(float(min(keep, RULES[name].largest_keep)))
        p, gamma, beta, beta_tilde = rule.moments(budget.rho).flipped(budget.flip)
        found[name] = selection(budget, rule, np.array([p, beta_tilde, beta, gamma, 0.0, p]))
    found["entropy"] = selection(budget, *best_entropy(budget))
    found["keep-all"] = selection(budget, KeepAll(), view.atoms[1].sum(axis=1))
    return found


def best_entropy(budget: Budget) -> tuple[Entropy, Array]:
    """The best entropy rule, of either sign of omega and any kappa, and its moments: a grid, then finer ones."""
    view = View(budget.rho, budget.flip)
    x, weights = view.nodes()
    masses = weights * view.features(x)

    def rules(kappa: Array, log_p: Array, sign: Array) -> tuple[Array, Array]:
        """omega (N,) that keeps the share p, nan if none does, and moments (6, N)."""
        exponent = entropy_deficit(kappa[:, None] * x) - np.log(2) * (sign < 0)[:, None]
        exponent *= sign[:, None]  # q = exp(-|omega|·exponent)

        def excess(log_omega: Array, log_p: Array, row: Array) -> Array:
            return np.exp(-np.exp(log_omega)[:, None] * exponent[row.astype(int)]) @ masses[0] / np.exp(log_p) - 1

        ends, rows = (-30.0, np.where(sign > 0, 25.0, _STEEPEST)), np.arange(len(log_p))
        omega = np.exp(find_root(excess, ends, args=(log_p, rows), tolerances={"xrtol": 1e-10}).x)
        return sign * omega, masses @ np.exp(-omega[:, None] * exponent).T

    least, most = np.log(_KAPPAS)
    kappas, shares = np.linspace(least, most, 13), np.linspace(np.log(budget.least), -1e-6, 13)
    width = np.array([kappas[1] - kappas[0], shares[1] - shares[0]])
    signs = np.array([1.0, -1.0])
    while True:
        kappa, share, sign = (grid.ravel() for grid in np.meshgrid(kappas, shares, signs))
        omega, moments = rules(np.exp(kappa), share, sign)
        best = int(np.nanargmin(budget.errors(moments)))  # nan: no omega keeps this share
        if width.max() < 1e-3:
            return Entropy(float(omega[best]), float(np.exp(kappa[best]))), moments[:, best]
        kappas, shares = (at[best] + w * np.linspace(-1, 1, 7) for at, w in zip((kappa, share), width, strict=True))
        kappas = np.clip(kappas, least, most)
        shares = np.clip(shares, np.log(budget.least), -1e-6)
        signs, width = sign[best : best + 1], width / 3
