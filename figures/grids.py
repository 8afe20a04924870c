"""Images in rows and columns (the paper's Figs. 10 to 13)."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures import style

GAP = 0.12  # between images, as a share of an image's side


def draw_images(
    images: np.ndarray,
    row_labels: Sequence[object],
    column_labels: Sequence[object],
    *,
    rows: str = "",
    columns: str = "",
    width: float = style.WIDTH,
) -> Figure:
    """A labelled grid of images (rows, columns, H, W[, 3]), grey or colour, with values in [0, 1].

    rows, columns: what the labels of the rows and of the columns are. nan (no image) stays white in grey.
    Raises ValueError where the labels do not match the images, or a value lies outside [0, 1].
    """
    if images.shape[:2] != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"{images.shape[0]}x{images.shape[1]} images need as many labels, "
            f"not {len(row_labels)}x{len(column_labels)}"
        )
    if np.nanmin(images) < 0 or np.nanmax(images) > 1:
        raise ValueError(f"pixels span [{np.nanmin(images):g}, {np.nanmax(images):g}], which must be in [0, 1]")
    n_rows, n_columns, high, wide = images.shape[:4]
    gap = max(1, round(GAP * wide))
    pitch = high + gap, wide + gap
    sheet = np.full(
        (n_rows * pitch[0] - gap, n_columns * pitch[1] - gap, *images.shape[4:]),
        np.nan if images.ndim == 4 else 1.0,
    )
    for i, j in np.ndindex(n_rows, n_columns):
        sheet[i * pitch[0] : i * pitch[0] + high, j * pitch[1] : j * pitch[1] + wide] = images[i, j]
    with matplotlib.rc_context(style.paper()):
        tall = width * sheet.shape[0] / sheet.shape[1] + 0.5  # enough whatever the labels' width
        figure = Figure(figsize=(width, tall), layout="constrained")
        ax = figure.subplots()
        ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_anchor("S")  # the labels are above
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        ax.set_xticks(np.arange(n_columns) * pitch[1] + (wide - 1) / 2, [str(label) for label in column_labels])
        ax.set_yticks(np.arange(n_rows) * pitch[0] + (high - 1) / 2, [str(label) for label in row_labels])
        ax.set_xlabel(columns)
        ax.set_ylabel(rows)
        figure.draw_without_rendering()  # the layout now knows the labels, and the width that they leave
        used = ax.get_tightbbox()
        assert used is not None, "the axes are visible"
        figure.set_figheight(used.height / figure.dpi + 0.1)
    return figure


def draw_image_table(table: pd.DataFrame, *, rows: str, columns: str) -> Figure:
    """The same from a table with a row per image: row, column, and pixel_0, … of a square grey image.

    Rows and columns keep the order of their first appearance; a place without a row stays white.
    Raises ValueError where a place is taken twice or the pixels do not make a square.
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
