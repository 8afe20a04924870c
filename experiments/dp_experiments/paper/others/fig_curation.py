"""Curation of generated rows, as 2511.03492 asks for it: which rows of an imperfect generator should be kept?"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Group, KeepEasy, KeepHard, SpanProblem, predict, simulate
from dp_theory.rules import Rule

NUMBERS = ("predicted", "simulated")

FRACTIONS = np.geomspace(0.05, 0.99, 25)  # of generated rows that the rule of difficulty keeps
SIMULATED = (0.2, 0.5)
PANELS = {
    "exact labels, n = d": (1.0, 1.0),
    "exact labels, n = 100 d": (1.0, 100.0),
    "wrong labels, n = 100 d": (0.8, 100.0),
}
"""Each with the cosine of the labeller to the truth, and the generated rows per dimension."""
ORACLE = 0.95  # cosine of the curator to the truth
LAMS = 10.0 ** np.arange(-5, 1.1, 0.5)  # ridges per row that the rule of difficulty keeps
FINER = 10.0 ** np.linspace(-0.5, 0.5, 13)  # about the best of them
RULES: dict[str, tuple[type[KeepHard | KeepEasy], bool]] = {
    "hard rows": (KeepHard, False),
    "easy rows": (KeepEasy, False),
    "hard rows, labels confirmed": (KeepHard, True),
    "easy rows, labels confirmed": (KeepEasy, True),
}
"""Each with the rule of difficulty, and whether the curator also drops the rows whose labels are not its own."""


def compute(quick: bool) -> pd.DataFrame:
    """Tidy. A panel for each generator and number of rows. x is the kept fraction, y the error at the best ridge."""
    fractions = FRACTIONS[::12] if quick else FRACTIONS
    checked = SIMULATED[:1] if quick else SIMULATED
    d, trials = (100, 8) if quick else (400, 30)
    parts = []
    for panel, (rho, rows) in PANELS.items():
        for series, (kind, confirmed) in RULES.items():
            best = [_best(kind, confirmed, rho, rows, fraction) for fraction in fractions]
            parts.append(predicted(series, fractions, [error for error, _ in best], panel=panel))
            for fraction in checked:
                parts.append(
                    _experiment(series, panel, fraction, _best(kind, confirmed, rho, rows, fraction), d, trials)
                )
    return pd.concat(parts, ignore_index=True)


def _best(
    kind: type[KeepHard | KeepEasy], confirmed: bool, rho: float, rows: float, fraction: float
) -> tuple[float, SpanProblem]:
    """The least error over ridges, and the problem that has it.

    The errors of generator and curator are independent: their parts off the truth are orthogonal.
    """
    rule = kind.with_keep_fraction(fraction)
    group = Group(
        labeller=(rho, np.sqrt(1 - rho**2), 0.0),
        along=(ORACLE, 0.0, np.sqrt(1 - ORACLE**2)),
        keep=_confirmed(rule) if confirmed else rule,
        breaks=[sign * float(edge) for edge in rule.breakpoints() if np.isfinite(edge) for sign in (-1, 1)],
    )
    coarse = fraction * LAMS
    near = coarse[np.argmin(_errors(group, rows, coarse))]
    lams = near * FINER
    error = _errors(group, rows, lams)
    least = int(np.argmin(error))
    return float(error[least]), SpanProblem((1.0, 0.0, 0.0), [group], 1 / rows, float(lams[least]))


def _errors(group: Group, rows: float, lams: np.ndarray) -> np.ndarray:
    return np.asarray(predict(SpanProblem((1.0, 0.0, 0.0), [group], 1 / rows, lams)).test_error)


def _confirmed(rule: Rule) -> Callable[[Any, Any], np.ndarray]:
    """The rule of those rows alone whose label the curator would have given, too."""
    return lambda t, y: np.asarray(rule.keep_probability(t)) * (t * y > 0)


def _experiment(
    series: str, panel: str, fraction: float, best: tuple[float, SpanProblem], d: int, trials: int
) -> pd.DataFrame:
    """The simulated error, with the z of its difference to the prediction."""
    expected, problem = best
    runs = simulate(problem, d, trials, seed=round(100 * fraction))
    error = float(runs.test_error)
    se = float(runs.test_error_se)
    return simulated(series, [fraction], [error], [se], trials, panel=panel, z=(error - expected) / se, d=d)


draw = partial(
    draw_curves, xlabel="kept fraction by difficulty", ylabel="test error", logx=True, logy=True, panel="panel"
)


def caption(table: pd.DataFrame) -> str:
    told = []
    for panel, rows in table.query("kind == 'predicted'").groupby("panel", sort=False):
        curves = rows.pivot_table(index="x", columns="series", values="y")
        least = ", ".join(f"{series} {curves[series].min():.3f}" for series in RULES)
        told.append(f"{panel}: all rows {curves['hard rows'].iloc[-1]:.3f}, {least}")
    runs = table.query("kind == 'simulated'")
    return (
        "The test error of ridge regression on those generated rows that a curator keeps, ridges at their best. Wrong "
        f"labels are those of a direction at cosine {PANELS['wrong labels, n = 100 d'][0]:g} to the truth; the curator "
        f"stands at cosine {ORACLE:g}. Least errors: {'; '.join(told)}. In the spirit of the theory of data curation "
        "(2025): hard rows are worth keeping where labels are right and rows are many; where rows are few nothing is "
        "gained; wrong labels ask for easy rows, or for labels that the curator confirms. What differs: a curator who "
        f"is not perfect does harm by confirming labels that are all right. Points: {runs['n_seeds'].iloc[0]:g} "
        f"simulated experiments in dimension {runs['d'].iloc[0]:g}, at most |z| = {runs['z'].abs().max():.1f} from the "
        "limit."
    )
