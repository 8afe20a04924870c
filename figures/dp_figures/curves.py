"""Curves, rankings, and writing a figure to disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dp_base.files import atomic_file
from dp_figures import style
from dp_figures.tables import KINDS, check_table

PANELS_PER_ROW = 3
LINE_HANDLE = 2.4  # length of a line in a legend, in font sizes
LINE_HEIGHT = 0.165  # inches, of a line of a legend
LONG_NAME = 40  # characters, which leave too little width for panels beside them


def draw_curves(
    table: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    panel: str | None = None,
    ordered: bool = False,
    sharey: bool = True,
) -> Figure:
    """Draw predicted rows as lines and empirical rows as points with error bars.

    A line has a shaded band where its y_low and y_high are apart. Points that were reported are open, others are
    filled. The points of a series without a predicted line are joined by a thin line. Series keep the order of their
    first row. An axis with values of 0 or less is never logarithmic: all points are to be seen.

    panel: a column, each of whose values gets a panel, in the order of their first row. ordered: whether the series are
    steps of one quantity (style.styles_of). Raises ValueError for a table that check_table refuses.
    """
    table = check_table(table, *([panel] if panel else []))
    panels = list(table.groupby(panel, sort=False)) if panel else [("", table)]
    looks = style.styles_of(table["series"], ordered=ordered)
    with style.paper():
        figure, axes = _new_panels(len(panels), sharey)
        for index, (ax, (title, rows)) in enumerate(zip(axes, panels, strict=True)):
            for name, of_series in rows.groupby("series", sort=False):
                _draw_series(ax, of_series, looks[name])
            if logx and (table["x"] > 0).all():
                log_axis(ax, "x")
            if logy and (table["y"] > 0).all():
                log_axis(ax, "y")
            ax.set_title(style.plain(title))
            ax.set_xlabel(xlabel)
            if index % PANELS_PER_ROW == 0:
                ax.set_ylabel(ylabel)
        _add_legend(figure, looks, [kind for kind in KINDS if kind in set(table["kind"])], len(axes))
    return figure


def _new_panels(count: int, sharey: bool) -> tuple[Figure, list[Axes]]:
    columns = min(count, PANELS_PER_ROW)
    rows = -(-count // columns)
    height = style.SINGLE_HEIGHT if count == 1 else rows * style.PANEL_HEIGHT + 0.3  # inches for the legend
    figure = style.new_figure(height)
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    return figure, list(grid[:count])


def _draw_series(ax: Axes, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    line = rows.query("kind == 'predicted'").sort_values("x")
    ax.plot(line["x"], line["y"], marker="_" if len(line) == 1 else None, zorder=2, **look)
    if (line["y_high"] > line["y_low"]).any():
        ax.fill_between(line["x"], line["y_low"], line["y_high"], color=look["color"], alpha=0.15, linewidth=0)
    for kind, points in rows.query("kind != 'predicted'").groupby("kind", sort=False):
        points = points.sort_values("x")
        if line.empty:
            ax.plot(points["x"], points["y"], linewidth=0.8, alpha=0.7, zorder=2, **look)
        ax.errorbar(
            points["x"],
            points["y"],
            yerr=[points["y"] - points["y_low"], points["y_high"] - points["y"]],
            linestyle="none",
            elinewidth=0.9,
            zorder=3,
            color=look["color"],
            **style.POINTS[str(kind)],
        )


def log_axis(ax: Axes, which: str) -> None:
    """Make an axis ("x" or "y") logarithmic, with labels such as 200, 5k and 1M unless its values are tiny."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    if low < 1e-3:
        return
    axis.set_major_locator(MaxNLocator(5) if high < 5 * low else LogLocator(subs=_labelled_multiples(high / low)))
    axis.set_major_formatter(lambda value, _: _readable(value))
    axis.set_minor_formatter(NullFormatter())


def _labelled_multiples(span: float) -> tuple[int, ...]:
    """The multiples of powers of ten that get labels, on an axis whose ends have this ratio."""
    if span < 30:
        return 1, 2, 5
    if span < 300:
        return 1, 3
    return (1,)


def _readable(value: float) -> str:
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _add_legend(figure: Figure, looks: dict[Any, dict[str, Any]], kinds: list[str], columns: int) -> None:
    """Add a legend to the right of up to two columns, or below more or long names, if there is something to tell
    apart. The figure is made as high as it takes.
    """
    handles = []
    if len(looks) > 1:
        handles += [Line2D([], [], label=style.plain(name), **look) for name, look in looks.items()]
    for kind in kinds:
        points: dict[str, Any] = {"linestyle": "none", **style.POINTS[kind]} if kind in style.POINTS else {}
        handles.append(Line2D([], [], label=kind, color=style.GREY, **points))
    if len(handles) == 1:
        return
    labels = [str(handle.get_label()) for handle in handles]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    to_the_right = columns <= 2 and longest <= LONG_NAME
    ncols = 1 if to_the_right else max(1, min(len(handles), 4, 110 // (longest + 6)))  # characters on a line
    loc = "outside right upper" if to_the_right else "outside lower center"
    figure.legend(handles=handles, loc=loc, handlelength=LINE_HANDLE, ncols=ncols)
    high = LINE_HEIGHT * sum(label.count("\n") + 1 for label in labels) / ncols
    height = figure.get_figheight()
    figure.set_figheight(max(height, high + LINE_HEIGHT) if to_the_right else height + max(0.0, high - 0.3))


def draw_ranking(table: pd.DataFrame, *, xlabel: str) -> Figure:
    """Draw y and its interval on a horizontal axis, a line for each row, named by its series, the highest y on top.

    Raises ValueError for a table that check_table refuses.
    """
    rows = check_table(table).sort_values("y", ignore_index=True)
    with style.paper():
        figure = style.new_figure(0.8 + 0.28 * len(rows))
        ax = figure.subplots()
        xerr = [rows["y"] - rows["y_low"], rows["y_high"] - rows["y"]]
        colour = style.styles_of([""])[""]["color"]
        ax.errorbar(rows["y"], rows.index, xerr=xerr, linestyle="none", marker="s", color=colour)
        ax.set_yticks(rows.index, [style.plain(name) for name in rows["series"]])
        ax.set_xlabel(xlabel)
    return figure


def save(figure: Figure, stem: str | Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write `stem`.png and `stem`.pdf, or one of them.

    Returns their paths. Each file is written whole or not at all. No date is written, so the same figure gives the same
    bytes.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{extension}") for extension in formats]
    with style.paper():
        for extension, path in zip(formats, paths, strict=True):
            metadata = {"CreationDate": None} if extension == "pdf" else {}
            with atomic_file(path) as partial:
                figure.savefig(partial, format=extension, metadata=metadata)
    return paths
