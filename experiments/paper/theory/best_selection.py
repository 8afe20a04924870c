"""How far the usual rules, each at its best, are from the best of all rules of the same selector."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dp_theory import Direct, Problem, simulate
from dp_theory.selection import Bands, BestRule, Budget, best_selection
from dp_theory.selection.rivals import rivals
from figures.curves import draw_curves
from figures.tables import predicted, simulated

RHO = 0.9
SMALLEST_KEEP = 0.1  # the hardest selection: so many candidates are had for a kept row, where only these cost
PANELS = {
    "budget of kept rows": ("kept", 0.4, 20.0),
    "budget of generated rows": ("generated", 0.4, 40.0),
    "budget of compute": ("compute", 0.4, 40.0),
}
BEST, LABELS, ENTROPY = "best", "best, seeing labels", "entropy"
SIZES = (13, 5)  # budgets per panel; quick
D, TRIALS = 4000, 60


def compute(quick: bool) -> pd.DataFrame:
    """Tidy; x is the budget per dimension, y the error over that of the best rule of the score; column panel.

    Simulated, at some sizes: the best rule and the entropy rule, over the prediction of the best.
    """
    size = SIZES[quick]
    parts = []
    for panel, (axis, low, high) in PANELS.items():
        for i, budget in enumerate(np.geomspace(low, high, size)):
            spent = Budget.of(RHO, float(budget), axis, smallest_keep=SMALLEST_KEEP)
            usual = rivals(spent)
            found = {BEST: best_selection(spent), LABELS: best_selection(spent, labels=True)}
            found |= {name: usual[name] for name in (ENTROPY, "keep-hard", "keep-easy")}
            least = found[BEST].test_error
            parts += [predicted(name, [budget], [one.test_error / least], panel=panel) for name, one in found.items()]
            if i % 4 == 2:
                parts += [_experiment(name, found[name], budget, least, panel) for name in (BEST, ENTROPY)]
    return pd.concat(parts, ignore_index=True)


def _experiment(name: str, found: BestRule, budget: float, least: float, panel: str) -> pd.DataFrame:
    """The simulated error of a selection over `least`; z of its difference to the prediction."""
    rule = found.rule.rule if isinstance(found.rule, Bands) else found.rule
    problem = Problem(Direct(rule), RHO, 1 / found.kept, found.lam)
    runs = simulate(problem, D, TRIALS, engine="law", seed=round(1000 * budget))
    error, se = runs.test_error, runs.test_error_se
    z = (error - found.test_error) / se
    return simulated(name, [budget], [error / least], [se / least], TRIALS, panel=panel, z=z)


def draw(table: pd.DataFrame) -> Figure:
    """The picture of the table."""
    label = "error over that of the best rule"
    return draw_curves(table, xlabel="budget per dimension", ylabel=label, logx=True, logy=True, panel="panel")


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    theory = table.query("kind == 'predicted'")

    def farthest(name: str, end: str = "max") -> str:
        return f"{getattr(theory.query('series == @name')['y'], end)() - 1:.0%}"

    return (
        f"The test error of the usual rules, each at its best parameters and ridge, over that of the best of all rules "
        f"that see the score (selector at cosine {RHO} to the truth; no rule keeps less than {SMALLEST_KEEP:.0%}; "
        f"training on a row costs 0.1 generated ones where compute counts). The entropy rule is up to "
        f"{farthest(ENTROPY)} above it, keep-hard up to {farthest('keep-hard')}, keep-easy up to "
        f"{farthest('keep-easy')}; a rule that sees labels too is up to {farthest(LABELS, 'min').lstrip('-')} below. "
        f"With few rows the best rule is a band of middling scores, with many it is keep-hard. Points: {TRIALS} "
        f"simulated experiments in dimension {D}, at most |z| = {table['z'].abs().max():.1f} from theory."
    )
