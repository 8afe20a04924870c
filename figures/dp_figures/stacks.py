"""Stacked bars: the parts of a whole."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dp_figures import style

NAMED = 30  # so many bars have room for their names
UPRIGHT = 1.85  # names an inch, which need not be turned


def draw_stacks(table: pd.DataFrame, *, xlabel: str, ylabel: str) -> Figure:
    """Draw a bar for each x, on which the parts named by `series` are stacked.

    Bars and parts keep the order of their first rows. The table has the columns `series`, `x` (a name) and `y` (at
    least 0). If there are more than NAMED bars, they get no names.
    """
    heights = table.pivot_table(index="x", columns="series", values="y", aggfunc="sum", sort=False).fillna(0)
    place = np.arange(len(heights))
    bottom = np.zeros(len(heights))
    few = len(heights) <= NAMED
    with style.paper():
        figure = Figure(figsize=(style.width(), style.SINGLE_HEIGHT), layout="constrained")
        ax = figure.subplots()
        for look, (name, part) in zip(style.series_styles(heights.shape[1]), heights.items(), strict=True):
            ax.bar(place, part, 0.8 if few else 1.0, bottom, color=look["color"], label=style.plain(name))
            bottom += part.to_numpy(float)
        names = [textwrap.fill(style.plain(name), 10, break_long_words=False) for name in heights.index]
        ax.set_xticks(
            place if few else [], names if few else [], rotation=0 if len(names) <= UPRIGHT * style.width() else 90
        )
        ax.grid(False, axis="x")
        ax.yaxis.set_major_locator(MaxNLocator(integer=bool((heights % 1 == 0).all(axis=None))))
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        figure.legend(loc="outside lower center", ncols=1 if style.is_narrow() else heights.shape[1])
    return figure
