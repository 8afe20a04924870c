"""Samples in the plane, and where a learner is unsure (the paper's Fig. 1)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dp_figures import style

CLASSES = {0: "s", 1: "o"}  # the marker of each


def draw_pools(table: pd.DataFrame) -> Figure:
    """Draw the samples of each panel, shaded where the learner is unsure.

    The table has the columns panel, what, x, y and value. Rows of `what` "old" and "new" are samples of class `value`,
    those of "probability" lie on a grid, and those of "boundary", whose panel is empty, are the true boundary.
    """
    names = [name for name in dict.fromkeys(table["panel"]) if name]
    boundary = table[table["what"] == "boundary"]
    looks = style.styles_of(CLASSES)
    with style.paper():
        figure = style.new_figure(style.PANEL_HEIGHT + 0.3)
        axes = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False).ravel()
        for ax, name in zip(axes, names, strict=True):
            rows = table[table["panel"] == name]
            grid = rows[rows["what"] == "probability"].pivot(index="y", columns="x", values="value")
            unsure = 1 - 2 * np.abs(grid.to_numpy() - 0.5)
            ax.contourf(grid.columns, grid.index, unsure, levels=np.linspace(0, 1, 9), cmap="Greys", vmax=2.2)
            ax.plot(boundary["x"], boundary["y"], color="black", linewidth=1.0)
            for label, marker in CLASSES.items():
                for what, size, edge in (("old", 7, "white"), ("new", 12, "black")):
                    points = rows[(rows["what"] == what) & (rows["value"] == label)]
                    drawn: dict[str, Any] = {"s": size, "marker": marker, "edgecolors": edge, "linewidths": 0.5}
                    ax.scatter(points["x"], points["y"], zorder=3, color=looks[label]["color"], **drawn)
            ax.set(title=style.plain(name), aspect="equal", xticks=[], yticks=[])
            ax.set(xlim=(grid.columns.min(), grid.columns.max()), ylim=(grid.index.min(), grid.index.max()))
            ax.grid(False)
        _name_marks(figure, looks[0]["color"])
    return figure


def _name_marks(figure: Figure, colour: str) -> None:
    point: dict[str, Any] = {"linestyle": "none", "marker": CLASSES[0], "color": colour}
    handles = [
        Line2D([], [], markersize=4, markeredgecolor="black", label="newest samples", **point),
        Line2D([], [], markersize=3, markeredgecolor="white", label="earlier samples", **point),
        Line2D([], [], color="black", linewidth=1.0, label="true boundary"),
        Line2D([], [], color="0.6", linewidth=5, label="where the learner is unsure"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
