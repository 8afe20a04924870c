"""Images in rows and columns (the paper's Figs. 10 to 13)."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dp_figures import style

GAP = 0.12  # between images, as a share of an image's side
NOTE_GAP = 0.26  # the same where a note stands below each image
NAME_WIDTH = 10  # characters on one line of a column's label
CHARACTERS_PER_INCH = 10  # of the figure's width, on one line above the columns
_NOTE = {"textcoords": "offset points", "fontsize": 5.5, "ha": "center", "va": "top"}
_MARK = {"edgecolor": style.styles_of("ab")["b"]["color"], "linewidth": 1.3, "fill": False, "clip_on": False}


def draw_images(
    images: np.ndarray,
    row_labels: Sequence[object],
    column_labels: Sequence[object],
    *,
    rows: str = "",
    columns: str = "",
    notes: np.ndarray | None = None,
    marked: np.ndarray | None = None,
    width: float | None = None,
) -> Figure:
    """Draw a labelled grid of images.

    images: shape (rows, columns, H, W) if grey, (rows, columns, H, W, 3) if coloured, with values in [0, 1]. Grey
    pixels that are nan stay white, so that a place may have no image. rows, columns: titles above their labels. notes:
    shape (rows, columns), a few characters below each image. marked: bool, shape (rows, columns), which get a frame.
    width: in inches; style.WIDTH unless given.

    Raises ValueError if the labels do not match the images, or if a value lies outside [0, 1].
    """
    if images.shape[:2] != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"{images.shape[0]}x{images.shape[1]} images need as many labels, "
            f"not {len(row_labels)}x{len(column_labels)}"
        )
    if np.nanmin(images) < 0 or np.nanmax(images) > 1:
        raise ValueError(f"pixels span [{np.nanmin(images):g}, {np.nanmax(images):g}], which must be in [0, 1]")
    width = style.WIDTH if width is None else width
    layout = _Layout.of(images, NOTE_GAP if notes is not None else GAP)
    n_rows, n_columns = images.shape[:2]
    with style.paper():
        tall = width * n_rows * layout.down / (n_columns * layout.right) + 0.5  # enough for labels of any width
        figure = Figure(figsize=(width, tall), layout="constrained")
        ax = figure.subplots()
        # "auto" keeps enlarged pixels sharp and smooths reduced ones.
        ax.imshow(_sheet(images, layout), cmap="gray", vmin=0, vmax=1, interpolation="auto")
        _name_places(ax, layout, row_labels, column_labels)
        ax.set_xlabel(textwrap.fill(columns, round(CHARACTERS_PER_INCH * width)))
        ax.set_ylabel(rows)
        for i, j in np.ndindex(n_rows, n_columns):
            top = i * layout.down - 0.5
            left = j * layout.right - 0.5
            if notes is not None:
                below = left + layout.wide / 2, top + layout.high
                ax.annotate(str(notes[i, j]), below, (0, -1.5), **_NOTE)
            if marked is not None and marked[i, j]:
                ax.add_patch(Rectangle((left, top), layout.wide, layout.high, **_MARK))
        figure.draw_without_rendering()  # computes the layout, and so the width that the labels leave
        used = ax.get_tightbbox()
        assert used is not None, "the axes are visible"
        figure.set_figheight(used.height / figure.dpi + 0.1)
    return figure


class _Layout(NamedTuple):
    """Sizes in pixels: an image is `high` × `wide`; rows are `down` and columns `right` apart."""

    high: int
    wide: int
    down: int
    right: int

    @classmethod
    def of(cls, images: np.ndarray, gap_below: float) -> "_Layout":
        """gap_below: the gap below an image, as a share of its height."""
        high, wide = images.shape[2:4]
        return cls(high, wide, high + max(1, round(gap_below * high)), wide + max(1, round(GAP * wide)))


def _name_places(ax: Axes, layout: _Layout, row_labels: Sequence[object], column_labels: Sequence[object]) -> None:
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_anchor("S")  # the labels are above
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    names = [textwrap.fill(style.plain(label), NAME_WIDTH, break_long_words=False) for label in column_labels]
    ax.set_xticks(np.arange(len(column_labels)) * layout.right + (layout.wide - 1) / 2, names)
    middles = np.arange(len(row_labels)) * layout.down + (layout.high - 1) / 2
    ax.set_yticks(middles, [style.plain(label) for label in row_labels])


def _sheet(images: np.ndarray, layout: _Layout) -> np.ndarray:
    """All images in one picture, which is white between them."""
    n_rows, n_columns, high, wide, *colours = images.shape
    below, right = layout.down - high, layout.right - wide
    gaps = [(0, 0), (0, 0), (0, below), (0, right), *[(0, 0)] * len(colours)]
    padded = np.pad(images.astype(np.float32), gaps, constant_values=1.0 if colours else np.nan)
    sheet = np.moveaxis(padded, 2, 1).reshape(n_rows * layout.down, n_columns * layout.right, *colours)
    return sheet[:-below, :-right]


def draw_image_table(table: pd.DataFrame, *, rows: str, columns: str) -> Figure:
    """Draw a grid from a table with a row for each image, which is square and grey.

    The table has the columns `row`, `column`, and `pixel_0`, `pixel_1` and so on. Rows and columns keep the order of
    their first appearance; a place without an image stays white. Raises ValueError if a place is taken twice, if the
    pixels do not make a square, or if a value lies outside [0, 1].
    """
    if table.duplicated(["row", "column"]).any():
        raise ValueError("two images have the same row and column")
    row_labels = list(dict.fromkeys(table["row"]))
    column_labels = list(dict.fromkeys(table["column"]))
    pixels = table.filter(regex=r"^pixel_\d+$").to_numpy(float)
    side = math.isqrt(pixels.shape[1])
    images = np.full((len(row_labels), len(column_labels), side, side), np.nan)
    for row, column, image in zip(table["row"], table["column"], pixels, strict=True):
        images[row_labels.index(row), column_labels.index(column)] = image.reshape(side, side)
    return draw_images(images, row_labels, column_labels, rows=rows, columns=columns)
