"""Traces of a run over its steps (the paper's Fig. 2)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dp_figures import style
from dp_figures.curves import log_axis
from dp_figures.tables import check_table

_ADDED: dict[str, Any] = {
    "color": style.GREY,
    "marker": "v",
    "markersize": 6,
    "markeredgecolor": "white",
    "linestyle": "none",
    "zorder": 4,
}


def draw_traces(table: pd.DataFrame, *, logy: Sequence[str] = ()) -> Figure:
    """Draw lines over the steps, each in a band from y_low to y_high, and a marker where data were added.

    The table is tidy, of kind measured, with the columns `quantity` (a panel for each, and the label of its y axis) and
    `added` (true in the rows at which data were added). The legend leaves out what needs no telling apart. Raises
    ValueError for a table that check_table refuses.
    """
    table = check_table(table, "quantity", "added")
    quantities = list(dict.fromkeys(table["quantity"]))
    looks = style.styles_of(table["series"])
    with style.paper():
        figure = style.new_figure(style.PANEL_HEIGHT + 0.3)
        axes = figure.subplots(1, len(quantities), squeeze=False).ravel()
        for ax, quantity in zip(axes, quantities, strict=True):
            rows = table.loc[table["quantity"] == quantity].sort_values("x")
            _draw_quantity(ax, rows, looks)
            if quantity in logy and (rows["y"] > 0).all():
                log_axis(ax, "y")
            ax.set_xlabel("optimizer step")
            ax.set_ylabel(style.plain(quantity))
        named = looks if len(looks) > 1 else {}
        handles = [Line2D([], [], label=style.plain(name), **look) for name, look in named.items()]
        if table["added"].any():
            handles.append(Line2D([], [], label="data added", **_ADDED))
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), handlelength=2.4)
    return figure


def _draw_quantity(ax: Axes, rows: pd.DataFrame, looks: dict[Any, dict[str, Any]]) -> None:
    for name, look in looks.items():
        own = rows.loc[rows["series"] == name]
        ax.plot(own["x"], own["y"], linewidth=1.2, **look)
        ax.fill_between(own["x"], own["y_low"], own["y_high"], color=look["color"], alpha=0.15, linewidth=0)
        added = own.loc[own["added"].astype(bool)]
        ax.plot(added["x"], added["y"], **{**_ADDED, "color": look["color"]})
