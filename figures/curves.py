"""Curves: predicted lines, empirical points, rankings; and writing a figure to disk."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from dp_base.files import whole_file
from figures import style
from figures.tables import check_table

PANELS_PER_ROW = 3


def draw_curves(
    table: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    logx: bool = False,
    logy: bool = False,
    panel: str | None = None,
    ordered: bool = False,
    sharey: bool = True,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw predicted rows as lines, in a shaded band where y_low and y_high are apart, simulated and measured rows
    as points with error bars, reported rows as open ones.

    Series keep the order of their first row. The points of a series without a predicted line are joined by a thin
    line. The legend stands outside the panels and names the series and the kinds.
    panel: a column; each of its values gets a panel, titled by the value, in the order of their first row.
    ordered: the series are steps of one quantity (see style.series_styles).
    sharey: panels share the y axis.
    axes: draw into these, one per panel, instead of a new figure.
    Returns the figure. Raises ValueError for a table that check_table refuses, and for a wrong number of axes.
    """
    check_table(table, *([panel] if panel else []))
    panels = list(dict.fromkeys(table[panel])) if panel else [None]
    with style.paper():
        if axes is None:
            axes = _new_axes(len(panels), sharey)
        elif len(axes) != len(panels):
            raise ValueError(f"{len(panels)} panels need as many axes, not {len(axes)}")
        names = list(dict.fromkeys(table["series"]))
        styles = dict(zip(names, style.series_styles(len(names), ordered=ordered), strict=True))
        for index, (ax, value) in enumerate(zip(axes, panels, strict=True)):
            rows = table if panel is None else table.loc[table[panel] == value]
            for name, of_series in rows.groupby("series", sort=False):
                _draw_series(ax, of_series, styles[name])
            if logx:
                log_axis(ax, "x")
            if logy:
                log_axis(ax, "y")
            if value is not None:
                ax.set_title(style.plain(value))
            ax.set_xlabel(xlabel)
            if index % PANELS_PER_ROW == 0:
                ax.set_ylabel(ylabel)
        figure = axes[0].figure
        assert isinstance(figure, Figure)
        if title:
            figure.suptitle(title)
        _legend(figure, styles, [kind for kind in style.KINDS if kind in set(table["kind"])], len(axes))
    return figure


def _new_axes(count: int, sharey: bool) -> list[Axes]:
    columns = min(count, PANELS_PER_ROW)
    rows = -(-count // columns)
    height = style.SINGLE_HEIGHT if count == 1 else rows * style.PANEL_HEIGHT + 0.3  # inches for the legend
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    return list(grid[:count])


def _draw_series(ax: Axes, rows: pd.DataFrame, look: dict) -> None:
    """One series in one panel: its line, then the points of each empirical kind with their error bars."""
    line = rows.query("kind == 'predicted'").sort_values("x")
    ax.plot(line["x"], line["y"], zorder=2, **look)
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
            **_point_look(str(kind), look["color"]),
        )


def log_axis(ax: Axes, which: str) -> None:
    """Make an axis ("x" or "y") logarithmic, with labels 200, 5k, 1M unless its values are tiny."""
    ax.set_xscale("log") if which == "x" else ax.set_yscale("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    if low < 1e-3:
        return
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 30 else (1, 3) if high / low < 300 else (1,)))
    axis.set_major_formatter(lambda value, _: _readable(value))
    axis.set_minor_formatter(NullFormatter())


def _readable(value: float) -> str:
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _point_look(kind: str, colour: object) -> dict:
    look = style.KINDS[kind]
    assert look is not None, "a predicted row has no marker"
    return {"color": colour, **look}


def _legend(figure: Figure, styles: dict[str, dict], kinds: list[str], columns: int) -> None:
    """Add a legend of series, by colour and dash, and of kinds, in grey: beside up to two columns, below more."""
    handles = (
        [Line2D([], [], label=style.plain(name), **look) for name, look in styles.items()] if len(styles) > 1 else []
    )
    for kind in kinds:
        look = {} if style.KINDS[kind] is None else {"linestyle": "none", **_point_look(kind, style.GREY)}
        handles.append(Line2D([], [], label=kind, **{"color": style.GREY, **look}))
    if len(handles) == 1:
        return  # nothing to tell apart
    if columns <= 2:
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.4)
    else:
        figure.legend(handles=handles, loc="outside lower center", handlelength=2.4, ncols=min(len(handles), 4))


def draw_ranking(table: pd.DataFrame, *, xlabel: str) -> Figure:
    """Draw a line per row, the highest y on top: the series' name, and y with its interval on the horizontal axis.

    Raises ValueError for a table that check_table refuses.
    """
    check_table(table)
    rows = table.sort_values("y", ignore_index=True)
    with style.paper():
        figure = Figure(figsize=(style.WIDTH, 0.8 + 0.28 * len(rows)), layout="constrained")
        ax = figure.subplots()
        reach = [rows["y"] - rows["y_low"], rows["y_high"] - rows["y"]]
        ax.errorbar(
            rows["y"], rows.index, xerr=reach, linestyle="none", marker="s", color=style.series_styles(1)[0]["color"]
        )
        ax.set_yticks(rows.index, [style.plain(name) for name in rows["series"]])
        ax.set_xlabel(xlabel)
    return figure


def save(figure: Figure, stem: str | Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write `stem`.png and `stem`.pdf, or one of them, each whole or not at all. Returns their paths.

    The same figure gives the same bytes, since no date is written.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{extension}") for extension in formats]
    with style.paper():
        for extension, path in zip(formats, paths, strict=True):
            with whole_file(path) as partial:
                figure.savefig(partial, format=extension, metadata={"CreationDate": None} if extension == "pdf" else {})
    return paths
