"""What a figure shows, as arrays: matplotlib's own types say too little of what its artists return."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D


def x_of(line: Line2D) -> np.ndarray:
    """The x coordinates of a line's points, (points,)."""
    return np.asarray(line.get_xdata())


def y_of(line: Line2D) -> np.ndarray:
    """The y coordinates of a line's points, (points,)."""
    return np.asarray(line.get_ydata())


def points_of(line: Line2D) -> np.ndarray:
    """The points of a line, (points, 2)."""
    return np.asarray(line.get_xydata())


def image_of(ax: Axes) -> np.ma.MaskedArray[Any, Any]:
    """The one image that is drawn in an axes, (height, width) or (height, width, 3); masked where it is empty."""
    (image,) = ax.get_images()
    array = image.get_array()
    assert array is not None
    return np.ma.asarray(array)
