"""Figures of the theory that are more than curves."""

import pandas as pd
from matplotlib.figure import Figure

from dp_figures import style
from dp_figures.curves import draw_curves


def draw_against_keep_fraction(table: pd.DataFrame) -> Figure:
    """Draw error against the kept fraction, and mark the interpolation threshold p = φ (the paper's Fig. 7).

    The table is tidy, with the columns `panel` and `threshold`, constant in each panel. Raises ValueError for a table
    that check_table refuses.
    """
    figure = draw_curves(table, xlabel="kept fraction p", ylabel="test error", panel="panel")
    with style.paper():
        for ax, (_, rows) in zip(figure.axes, table.groupby("panel", sort=False), strict=True):
            threshold = rows["threshold"].iloc[0]
            ax.axvline(threshold, color=style.GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
            ax.annotate(
                "p = φ",
                (threshold, 1),
                (3, -1),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=7,
                color=style.GREY,
            )
    return figure
