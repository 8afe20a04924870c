"""Accuracy against data size, practice beside static."""

import pandas as pd
from matplotlib.figure import Figure

from dp_figures import style
from dp_figures.curves import draw_curves


def draw_data_equivalence(table: pd.DataFrame) -> Figure:
    """Draw the paper's Fig. 4, with an arrow in each panel from the largest static size to the smallest practice run
    that beats all static ones. The arrow bears the ratio of their sizes. The table is tidy, with the columns
    `dataset` (a panel for each), `bound` (">" for a run that beats all static ones) and `ratio`. Raises ValueError
    for a table that check_table refuses.
    """
    figure = draw_curves(
        table,
        xlabel="training samples generated",
        ylabel="validation accuracy (%)",
        logx=True,
        panel="dataset",
        sharey=False,
    )
    with style.paper():
        for ax, (_, rows) in zip(figure.axes, table.groupby("dataset", sort=False), strict=True):
            largest_static = rows.query("series == 'static'")["x"].max()
            for _, row in rows.query("bound == '>'").nsmallest(1, "x").iterrows():
                ax.annotate(
                    "",
                    (row["x"], row["y"]),
                    (largest_static, row["y"]),
                    arrowprops={"arrowstyle": "->", "color": style.GREY, "linewidth": 0.8, "shrinkA": 0},
                )
                ax.annotate(
                    f"> {row['ratio']:.0f}× less data",
                    ((row["x"] * largest_static) ** 0.5, row["y"]),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=style.GREY,
                )
    return figure
