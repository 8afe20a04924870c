"""A figure: `compute` makes a tidy table, `draw` draws it, and `caption` says what it shows."""

import numpy as np
import pandas as pd
from bell_rule import Bell
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated
from matplotlib.figure import Figure

from dp_theory import Problem, predict, simulate

PHI = 0.5
LAM = 0.01
RHO = 0.9
KEEP = np.array([0.2, 0.4, 0.6, 0.8])


def compute(quick: bool) -> pd.DataFrame:
    """Test errors at several kept fractions, predicted and simulated. quick: with fewer trials."""
    trials = 4 if quick else 40
    problem = Problem(Bell.with_keep_fraction(KEEP), RHO, PHI, LAM)
    runs = simulate(problem, 200, trials, engine="law")
    line = predicted("bell", KEEP, np.asarray(predict(problem).test_error))
    points = simulated("bell", KEEP, np.asarray(runs.test_error), np.asarray(runs.test_error_se), trials)
    return pd.concat([line, points], ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """Predicted curves with measured points on them."""
    return draw_curves(table, xlabel="kept fraction p", ylabel="test error")


def caption(table: pd.DataFrame) -> str:
    """One paragraph, with numbers from the table."""
    best = table.query("kind == 'predicted'").sort_values("y").iloc[0]
    return f"The test error of the bell-shaped rule; the least is {best.y:.3f}, at p = {best.x:g}."
