"""Accuracy against data size, practice beside static."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from figures import style
from figures.curves import draw_curves


def draw_data_equivalence(table: pd.DataFrame) -> Figure:
    """The paper's Fig. 4, with the saving that its tables show marked by an arrow in each panel.

    table: tidy, with the columns dataset (a panel each), bound and ratio: the smallest practice run whose
    static equivalent is only bounded (">") is held against the largest static size, and the ratio is written.
    """
    figure = draw_curves(
        table,
        xlabel="training samples generated",
        ylabel="validation accuracy (%)",
        logx=True,
        panel="dataset",
        sharey=False,
    )
    with matplotlib.rc_context(style.paper()):
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
