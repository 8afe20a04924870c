"""Fig. 4 from the paper's own Tables 4 and 5, with the data saving that they imply."""

import pandas as pd
from dp_figures import style
from dp_figures.curves import draw_curves
from dp_figures.tables import reported
from matplotlib.figure import Figure

from dp_experiments.paper.claims.equivalence import data_equivalence


def compute(quick: bool) -> pd.DataFrame:
    curves = data_equivalence()
    rest = curves.drop(columns=["method", "total", "val"])
    return pd.concat([reported(curves["method"], curves["total"], curves["val"]), rest], axis=1)


def draw(table: pd.DataFrame) -> Figure:
    """An arrow leads from the largest static size to the smallest practice run that beats all static ones."""
    labels = {"xlabel": "training samples generated", "ylabel": "validation accuracy (%)"}
    figure = draw_curves(table, **labels, logx=True, panel="dataset", sharey=False)
    with style.paper():
        for ax, (_, rows) in zip(figure.axes, table.groupby("dataset", sort=False), strict=True):
            largest = rows.query("series == 'static'")["x"].max()
            first = rows.query("bound == '>'").nsmallest(1, "x").iloc[0]
            arrow = {"arrowstyle": "->", "color": style.GREY, "linewidth": 0.8, "shrinkA": 0}
            ax.annotate("", (first["x"], first["y"]), (largest, first["y"]), arrowprops=arrow)
            middle = ((first["x"] * largest) ** 0.5, first["y"])
            text = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "color": style.GREY}
            ax.annotate(f"> {first['ratio']:.0f}× less data", middle, (0, 3), **text)
    return figure


def caption(table: pd.DataFrame) -> str:
    beyond = {name: rows["ratio"].max() for name, rows in table.query("bound == '>'").groupby("dataset")}
    return (
        "Scaling on ImageNet-100 and ImageNet-1k, static against Deliberate Practice: Fig. 4 drawn from the "
        "paper's Tables 4 and 5, single runs. Each arrow leads from the largest static size to the smallest "
        f"practice run that beats it: more than {beyond['ImageNet-100']:.0f}× less data on ImageNet-100, "
        f"where the text claims 7.5×, and more than {beyond['ImageNet-1k']:.0f}× on ImageNet-1k, where it "
        "claims 20×. The static curves are nearly flat: the ratio says as much about the largest static size "
        "tried as about the method."
    )
