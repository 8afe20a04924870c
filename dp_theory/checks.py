"""Types that every room uses, and the check that says in one line what input must hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import InputError

Array = NDArray[np.floating]
ROUNDING = np.finfo(float).eps / 2  # largest relative error of one rounded operation
Real = Any  # a float or an array of float64; as a union it would defeat type checkers at every operator


MOST_TRIALS, LARGEST_D, MOST_ROWS = 10**6, 10**8, 1e12  # what an experiment can have at all
SMALLEST, LARGEST = 1e-30, 1e15  # of a ratio or a ridge: beyond, formulas lose their digits or overflow


def require_size(name: str, value: Any, least: float, most: float, what: str) -> None:
    """Raises InputError unless least <= value <= most. what: ends the message, "be at least 1: it is the dimension"."""
    require(name, value, value >= least, f"be at least {least:g}: {what}")
    require(name, value, value <= most, f"be at most {most:g}: {what}")


def require_magnitude(**values: Any) -> None:
    """Raises InputError for a value that is neither 0 nor between SMALLEST and LARGEST."""
    for name, value in values.items():
        size = np.abs(np.asarray(value))
        fits = (size == 0) | ((size >= SMALLEST) & (size <= LARGEST))
        require(name, value, fits, f"be between {SMALLEST:g} and {LARGEST:g}: beyond, formulas lose their digits")


def require(name: str, value: Any, holds: Any, must: str) -> None:
    """Raises InputError "name = value must …" with the first element of `value` where `holds` is false.

    value and holds broadcast.
    """
    holds = np.asarray(holds)
    if not holds.all():
        value = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), holds.shape))
        first = np.broadcast_to(holds, value.shape).ravel().argmin()
        raise InputError(f"{name} = {value.ravel()[first]:g} must {must}")
