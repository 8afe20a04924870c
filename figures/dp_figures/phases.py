"""Phase diagrams: maps of a signed gain that show where each of two choices wins."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from dp_figures import style
from dp_figures.curves import log_axis

SIMULATED = {"marker": "o", "s": 26, "edgecolors": "black", "linewidths": 0.7, "zorder": 3}


def draw_phases(
    table: pd.DataFrame, *, xlabel: str, ylabel: str, value: str, low: str, high: str, none: str, level: float
) -> Figure:
    """Draw, for each panel, a map of the gain over (x, y), with x logarithmic.

    The sign of the gain says which of two choices wins. The table has the columns `panel`, `kind`, `x`, `y` and `gain`.
    The predicted rows of a panel form a grid. The simulated rows are dots in the colour of their own gain.

    value: what the gain is; the title of the colour bar. low, high: names of the choices that win where the gain is
    negative and where it is positive. none: what is said where the gain is smaller than `level`.
    """
    limit = max(np.nanquantile(table["gain"].abs(), 0.99), 2 * level)
    high_look, low_look = style.series_styles(2)
    colours = LinearSegmentedColormap.from_list("gain", [low_look["color"], "white", high_look["color"]])
    shades = {"cmap": colours, "norm": Normalize(-limit, limit)}
    panels = list(dict.fromkeys(table["panel"]))
    with style.paper():
        figure = Figure(figsize=(style.width(), style.PANEL_HEIGHT + 0.6), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, panel in zip(axes, panels, strict=True):
            _draw_map(ax, table[table["panel"] == panel], level, shades)
            ax.set_title(panel)
            ax.set_xlabel(xlabel)
        axes[0].set_ylabel(ylabel)
        bar = figure.colorbar(ScalarMappable(**shades), ax=axes, location="bottom", aspect=50, pad=0.03)
        bar.set_label(f"{value}: {low}  |  {none}  |  {high}")
        bar.ax.xaxis.set_major_formatter(lambda gain, _: f"{abs(gain):.0%}")
        bar.ax.axvline(-level, color=style.GREY, linewidth=0.8)
        bar.ax.axvline(level, color=style.GREY, linewidth=0.8)
    return figure


def _draw_map(ax: Axes, rows: pd.DataFrame, level: float, shades: dict[str, Any]) -> None:
    grid = rows[rows["kind"] == "predicted"].pivot(index="y", columns="x", values="gain")
    x = grid.columns.to_numpy(float)
    y = grid.index.to_numpy(float)
    gain = grid.to_numpy()
    ax.pcolormesh(x, y, gain, shading="nearest", rasterized=True, **shades)
    ax.contour(x, y, gain, [-level, level], colors=style.GREY, linewidths=0.8, linestyles="solid")
    dots = rows[rows["kind"] == "simulated"]
    ax.scatter(dots["x"], dots["y"], c=dots["gain"], **shades, **SIMULATED, clip_on=False)
    log_axis(ax, "x")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.grid(False)
