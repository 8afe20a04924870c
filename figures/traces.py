"""Traces of a run over its steps (the paper's Fig. 2)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.curves import log_axis
from figures.tables import check_table

_ADDED = {
    "color": style.GREY,
    "marker": "v",
    "markersize": 6,
    "markeredgecolor": "white",
    "linestyle": "none",
    "zorder": 4,
}


def draw_traces(table: pd.DataFrame, *, xlabel: str = "optimizer step", logy: Sequence[str] = ()) -> Figure:
    """Draw lines over the steps with a band from y_low to y_high, and a marker where data were added.

    table: tidy, kind measured, with the columns quantity (a panel each, and its y label) and added (true in the rows at
    which data were added). logy: the quantities that get a logarithmic axis.
    The legend leaves out what needs no telling apart.
    Raises ValueError for a table that check_table refuses.
    """
    check_table(table, "quantity", "added")
    quantities, names = list(dict.fromkeys(table["quantity"])), list(dict.fromkeys(table["series"]))
    with style.paper():
        figure = Figure(figsize=(style.WIDTH, style.PANEL_HEIGHT + 0.3), layout="constrained")
        axes = figure.subplots(1, len(quantities), squeeze=False)[0]
        looks = dict(zip(names, style.series_styles(len(names)), strict=True))
        for ax, quantity in zip(axes, quantities, strict=True):
            rows_here = table.loc[table["quantity"] == quantity].sort_values("x")
            for name, look in looks.items():
                rows = rows_here.loc[rows_here["series"] == name]
                ax.plot(rows["x"], rows["y"], linewidth=1.2, **look)
                ax.fill_between(rows["x"], rows["y_low"], rows["y_high"], color=look["color"], alpha=0.15, linewidth=0)
                added = rows.loc[rows["added"].astype(bool)]
                ax.plot(added["x"], added["y"], **{**_ADDED, "color": look["color"]})
            if quantity in logy:
                log_axis(ax, "y")
            ax.set_xlabel(xlabel)
            ax.set_ylabel(str(quantity))
        handles = [Line2D([], [], label=str(name), **look) for name, look in looks.items()] if len(names) > 1 else []
        if table["added"].any():
            handles.append(Line2D([], [], label="data added", **_ADDED))
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.4)
    return figure
