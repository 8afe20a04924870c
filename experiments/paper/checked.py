"""A check of features as a figure: predicted and measured curves of error against kept rows, a panel for each rule."""

import pandas as pd
from matplotlib.figure import Figure

from dp_theory.validity import Check
from figures.curves import draw_curves
from figures.tables import measured, predicted

SERIES = {"gaussian": "Gaussian theory", "measured law": "measured law"}


def tidy(found: Check, name: str = "", trials: int = 1) -> pd.DataFrame:
    """The table of figures.tables, with a column panel: the name and the rule. Sizes that were not measured are left
    out."""
    parts = []
    for rule, rows in found.curves.dropna().groupby("rule", sort=False):
        panel = f"{name} {rule}".strip()
        parts += [
            predicted(label, rows["kept"], rows[column], panel=panel, z=rows[z])
            for (column, label), z in zip(SERIES.items(), ("z", "z_law"), strict=True)
        ]
        parts.append(measured(SERIES["measured law"], rows["kept"], rows["measured"], rows["se"], trials, panel=panel))
    return pd.concat(parts, ignore_index=True)


def picture(table: pd.DataFrame) -> Figure:
    """See figures.curves."""
    return draw_curves(
        table, xlabel="kept rows", ylabel="test error", logx=True, logy=True, panel="panel", sharey=False
    )
