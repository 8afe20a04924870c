"""The least value of many functions of one positive number at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

_PER_DECADE = 5  # points of the first grid
_FINER = 4  # each further grid is so many times finer than the one before
_FINEST = 1e-4  # spacing of ln x at which the search ends


def minimise(function: Callable[[Any], Any], low: float, high: float, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The least value of each function over [low, high], low > 0, and where it is.

    Grids are logarithmic, since functions may have several local minima, or the least at an end.
    """
    extra_axes = (1,) * len(shape)
    points = 2 + round(_PER_DECADE * np.log10(high / low))
    spacing = np.log(high / low) / (points - 1)
    log_x = np.linspace(np.log(low), np.log(high), points).reshape(-1, *extra_axes) + np.zeros(shape)
    while True:
        values = np.broadcast_to(function(np.exp(log_x)), log_x.shape)
        best = np.argmin(values, axis=0)[None]
        centre = np.take_along_axis(log_x, best, axis=0)[0]
        if spacing < _FINEST:
            least = np.take_along_axis(values, best, axis=0)[0]
            return least, np.exp(centre)
        offsets = np.linspace(-spacing, spacing, 2 * _FINER + 1).reshape(-1, *extra_axes)
        log_x = np.clip(centre + offsets, np.log(low), np.log(high))
        spacing /= _FINER
