"""Images in rows and columns (the paper's Figs. 10 to 13)."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures import style

GAP = 0.12  # between images, as a share of an image's side
NOTE_GAP = 0.26  # the same where a note stands below each image
NAME_WIDTH = 10  # characters on one line of a column's label
LINE = 10  # characters per inch of the figure, on one line above the columns
_NOTE = {"textcoords": "offset points", "fontsize": 5.5, "ha": "center", "va": "top"}
_MARK = {"edgecolor": style.series_styles(2)[1]["color"], "linewidth": 1.3, "fill": False, "clip_on": False}


def draw_images(
    images: np.ndarray,
    row_labels: Sequence[object],
    column_labels: Sequence[object],
    *,
    rows: str = "",
    columns: str = "",
    notes: np.ndarray | None = None,
    marked: np.ndarray | None = None,
    width: float = style.WIDTH,
) -> Figure:
    """Draw a labelled grid of images (rows, columns, H, W[, 3]), grey or colour, with values in [0, 1].

    rows, columns: titles of the row and column labels. In grey images nan, for no image, stays white.
    notes: (rows, columns), a few characters below each image. marked: bool (rows, columns), which images get a frame.
    width: of the figure, in inches.
    Raises ValueError if the labels do not match the images, or a value lies outside [0, 1].
    """
    if images.shape[:2] != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"{images.shape[0]}x{images.shape[1]} images need as many labels, "
            f"not {len(row_labels)}x{len(column_labels)}"
        )
    if np.nanmin(images) < 0 or np.nanmax(images) > 1:
        raise ValueError(f"pixels span [{np.nanmin(images):g}, {np.nanmax(images):g}], which must be in [0, 1]")
    n_rows, n_columns, high, wide = images.shape[:4]
    down = high + max(1, round((GAP if notes is None else NOTE_GAP) * high))
    right = wide + max(1, round(GAP * wide))
    with style.paper():
        tall = width * n_rows * down / (n_columns * right) + 0.5  # enough for labels of any width
        figure = Figure(figsize=(width, tall), layout="constrained")
        ax = figure.subplots()
        # "auto" keeps enlarged pixels sharp and smooths reduced ones.
        ax.imshow(_sheet(images, down, right), cmap="gray", vmin=0, vmax=1, interpolation="auto")
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_anchor("S")  # the labels are above
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        names = [textwrap.fill(style.plain(label), NAME_WIDTH, break_long_words=False) for label in column_labels]
        ax.set_xticks(np.arange(n_columns) * right + (wide - 1) / 2, names)
        ax.set_yticks(np.arange(n_rows) * down + (high - 1) / 2, [style.plain(label) for label in row_labels])
        ax.set_xlabel(textwrap.fill(columns, round(LINE * width)))
        ax.set_ylabel(rows)
        for i, j in np.ndindex(n_rows, n_columns):
            top, left = i * down - 0.5, j * right - 0.5
            if notes is not None:
                ax.annotate(str(notes[i, j]), (left + wide / 2, top + high), (0, -1.5), **_NOTE)
            if marked is not None and marked[i, j]:
                ax.add_patch(Rectangle((left, top), wide, high, **_MARK))
        figure.draw_without_rendering()  # computes the layout, and so the width that the labels leave
        used = ax.get_tightbbox()
        assert used is not None, "the axes are visible"
        figure.set_figheight(used.height / figure.dpi + 0.1)
    return figure


def _sheet(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """All images in one picture, with a row every `down` pixels and a column every `right` pixels."""
    n_rows, n_columns, high, wide = images.shape[:4]
    shape = ((n_rows - 1) * down + high, (n_columns - 1) * right + wide, *images.shape[4:])
    sheet = np.full(shape, np.nan if images.ndim == 4 else 1.0, np.float32)
    for i, j in np.ndindex(n_rows, n_columns):
        sheet[i * down : i * down + high, j * right : j * right + wide] = images[i, j]
    return sheet


def draw_image_table(table: pd.DataFrame, *, rows: str, columns: str) -> Figure:
    """Draw a grid from a table with a row per image: row, column, and pixel_0, … of a square grey image.

    Rows and columns keep the order of their first appearance. A place without an image stays white.
    Raises ValueError if a place is taken twice, if the pixels do not make a square, or if a value lies outside [0, 1].
    """
    if table.duplicated(["row", "column"]).any():
        raise ValueError("two images have the same row and column")
    row_labels, column_labels = list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["column"]))
    pixels = table.filter(regex=r"^pixel_\d+$").to_numpy(float)
    side = round(pixels.shape[1] ** 0.5)
    if side * side != pixels.shape[1] or side == 0:
        raise ValueError(f"{pixels.shape[1]} pixel columns do not make a square image")
    images = np.full((len(row_labels), len(column_labels), side, side), np.nan)
    for row, column, image in zip(table["row"], table["column"], pixels, strict=True):
        images[row_labels.index(row), column_labels.index(column)] = image.reshape(side, side)
    return draw_images(images, row_labels, column_labels, rows=rows, columns=columns)
