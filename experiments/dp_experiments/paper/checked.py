"""A check of features as a figure: error against kept rows, a panel for each rule."""

import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured, predicted
from matplotlib.figure import Figure

from dp_theory.validity.check import Check

GAUSSIAN = "Gaussian theory"
MEASURED_LAW = "measured law"


def tidy(found: Check, name: str = "", trials: int = 1) -> pd.DataFrame:
    """The table of a check, without sizes that were not measured; `trials` experiments stand behind each size."""
    parts = []
    for rule, rows in found.curves.dropna().groupby("rule", sort=False):
        panel = f"{name} {rule}".strip()
        parts.append(predicted(GAUSSIAN, rows["kept"], rows["gaussian"], panel=panel, z=rows["z"]))
        parts.append(predicted(MEASURED_LAW, rows["kept"], rows["measured law"], panel=panel, z=rows["z_law"]))
        parts.append(measured(MEASURED_LAW, rows["kept"], rows["measured"], rows["se"], trials, panel=panel))
    return pd.concat(parts, ignore_index=True)


def picture(table: pd.DataFrame) -> Figure:
    """Draw the table."""
    return draw_curves(
        table, xlabel="kept rows", ylabel="test error", logx=True, logy=True, panel="panel", sharey=False
    )
