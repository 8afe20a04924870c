"""Pruning as Sorscher et al. 2022 (2206.14486) ask for it, with ridge regression: easy or hard rows, and how many?"""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import KeepAll, KeepEasy, KeepHard, Problem, predict, simulate
from dp_theory.rules import Rule

NUMBERS = ("predicted", "simulated")

ROWS = np.geomspace(0.5, 128, 33)  # generated, per dimension
SIMULATED = (1.0, 4.0, 16.0)
RHOS = (1.0, 0.9)  # cosines of the selector
FRACTIONS = np.geomspace(0.01, 0.98, 40)
LAMS = 10.0 ** np.arange(-8, 1.1, 0.5)  # ridges per kept row
RULES: dict[str, type[KeepHard | KeepEasy]] = {"best hard": KeepHard, "best easy": KeepEasy}
FEW = 1.0  # rows per dimension at which the caption compares the rules


def compute(quick: bool) -> pd.DataFrame:
    """Tidy. A panel for each selector; x are generated rows per dimension, y is the test error."""
    rows = ROWS[::4] if quick else ROWS
    d, trials = (100, 10) if quick else (300, 40)
    parts = []
    for rho in RHOS:
        panel = f"rho = {rho:g}"
        all_kept = [_best(KeepAll(), np.ones(1), rho, size) for size in rows]
        parts.append(predicted("all rows", rows, [error for error, _ in all_kept], panel=panel))
        for series, kind in RULES.items():
            rule = kind.with_keep_fraction(FRACTIONS[:, None])
            best = [_best(rule, FRACTIONS, rho, size) for size in rows]
            parts.append(predicted(series, rows, [error for error, _ in best], panel=panel))
            for size in SIMULATED:
                parts.append(_experiment(series, panel, size, _best(rule, FRACTIONS, rho, size)[1], d, trials))
    return pd.concat(parts, ignore_index=True)


def _best(rule: Rule, fractions: np.ndarray, rho: float, size: float) -> tuple[float, Problem]:
    """The least error over kept fractions (the rule's first axis) and ridges, and the problem that has it."""
    lam = fractions[:, None] * LAMS
    error = np.asarray(predict(Problem(rule, rho, 1 / size, lam)).test_error)
    i, j = np.unravel_index(np.argmin(error), error.shape)
    scalar = rule if isinstance(rule, KeepAll) else rule.at((int(i), 0), (len(fractions), 1))
    return float(error[i, j]), Problem(scalar, rho, 1 / size, float(lam[i, j]))


def _experiment(series: str, panel: str, size: float, problem: Problem, d: int, trials: int) -> pd.DataFrame:
    """The simulated error, with the z of its difference to the prediction."""
    runs = simulate(problem, d, trials, seed=round(10 * size))
    error = float(runs.test_error)
    se = float(runs.test_error_se)
    z = (error - float(predict(problem).test_error)) / se
    return simulated(series, [size], [error], [se], trials, panel=panel, z=z, d=d)


draw = partial(
    draw_curves, xlabel="rows generated per dimension", ylabel="test error", logx=True, logy=True, panel="panel"
)


def caption(table: pd.DataFrame) -> str:
    theory = table.query("kind == 'predicted'")
    told = []
    for panel in theory["panel"].unique():
        curves = theory.query("panel == @panel").pivot_table(index="x", columns="series", values="y")
        last = curves.iloc[-2:]
        slopes = np.log(last.iloc[1] / last.iloc[0]) / np.log(last.index[1] / last.index[0])
        few = curves.iloc[np.abs(curves.index - FEW).argmin()]
        told.append(
            f"{panel}: with {FEW:g} row per dimension {few['best easy']:.3f} of easy rows, {few['best hard']:.3f} of "
            f"hard ones; with many the error falls as n^{slopes['best hard']:.2f} by hard rows and as "
            f"n^{slopes['all rows']:.2f} by all"
        )
    runs = table.query("kind == 'simulated'")
    return (
        "The test error of ridge regression on the best kept fraction of hard and of easy rows, ridges at their best. "
        f"{'; '.join(told)}. As in Sorscher et al. (2022) few rows are best easy and many best hard, if the selector "
        "is perfect, and an imperfect one ends the faster fall. What differs: there the error of a perceptron of "
        "largest margin can fall exponentially, while that of ridge regression falls as 1/n at best. Points: "
        f"{runs['n_seeds'].iloc[0]:g} simulated experiments in dimension {runs['d'].iloc[0]:g}, at most |z| = "
        f"{runs['z'].abs().max():.1f} from the limit."
    )
