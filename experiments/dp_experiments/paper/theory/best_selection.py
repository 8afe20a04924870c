"""How far the usual rules, each at its best, are from the best of all rules of the same selector."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Direct, Problem, simulate
from dp_theory.budgets.optimum import RULE_NAMES, least_error
from dp_theory.selection.best import BestRule, Budget, best_selection

RHO = 0.9
SMALLEST_KEEP = 0.1  # the least keep fraction, which binds where only kept rows cost
PANELS = {
    "budget of kept rows": ("kept", 0.4, 20.0),
    "budget of generated rows": ("generated", 0.4, 40.0),
    "budget of compute": ("compute", 0.4, 40.0),
}
"""The axis of each panel, and the least and the largest budget."""
BEST = "best"
D = 4000
TRIALS = 60


def compute(quick: bool) -> pd.DataFrame:
    """The error over that of the best rule against the budget per dimension."""
    size = 5 if quick else 13
    parts = []
    for panel, (axis, low, high) in PANELS.items():
        for i, budget in enumerate(np.geomspace(low, high, size)):
            spent = Budget.of(RHO, float(budget), axis, smallest_keep=SMALLEST_KEEP)
            best = best_selection(spent)
            errors = {BEST: best.test_error}
            for name in RULE_NAMES:
                errors[name] = least_error(name, RHO, spent.psi, smallest_keep=SMALLEST_KEEP).test_error
            parts += [
                predicted(name, [budget], [error / best.test_error], panel=panel) for name, error in errors.items()
            ]
            if i % 4 == 2:
                parts.append(_experiment(best, budget, panel))
    return pd.concat(parts, ignore_index=True)


def _experiment(best: BestRule, budget: float, panel: str) -> pd.DataFrame:
    problem = Problem(Direct(best.rule), RHO, 1 / best.kept, best.lam)
    runs = simulate(problem, D, TRIALS, engine="law", seed=round(1000 * budget))
    z = (runs.test_error - best.test_error) / runs.test_error_se
    relative = runs.test_error / best.test_error
    return simulated(BEST, [budget], [relative], [runs.test_error_se / best.test_error], TRIALS, panel=panel, z=z)


draw = partial(
    draw_curves,
    xlabel="budget per dimension",
    ylabel="error over that of the best rule",
    logx=True,
    logy=True,
    panel="panel",
)


def caption(table: pd.DataFrame) -> str:
    theory = table.query("kind == 'predicted'")

    def above(name: str) -> str:
        return f"{theory.query('series == @name')['y'].max() - 1:.0%}"

    return (
        f"The test error of the usual rules, each at its best parameters and ridge, over that of the best of all rules "
        f"that see the score (selector at cosine {RHO} to the truth; no rule keeps less than {SMALLEST_KEEP:.0%}; "
        f"training on a row costs 0.1 generated ones where compute counts). Keep-hard is up to {above('keep-hard')} "
        f"above it, keep-easy up to {above('keep-easy')}. "
        f"With few rows the best rule is a band of middling scores, with many it is keep-hard. Points: {TRIALS} "
        f"simulated experiments in dimension {D}, at most |z| = {table['z'].abs().max():.1f} from theory."
    )
