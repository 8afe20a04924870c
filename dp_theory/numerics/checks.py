"""Types that every room uses, and the check that says in one line what input must hold."""

import reprlib
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import InputError

Array = NDArray[np.floating]
ROUNDING = np.finfo(float).eps / 2  # largest relative error of one rounded operation
Real = Any  # a float or an array of float64; as a union it would defeat type checkers at every operator


MOST_TRIALS, LARGEST_D, MOST_ROWS = 10**6, 10**8, 1e12  # what an experiment can have at all
SMALLEST, LARGEST = 1e-30, 1e15  # of a ratio or a ridge: beyond, formulas lose their digits or overflow


def numbers(name: str, value: Any) -> Array:
    """The value as an array of float64. Raises InputError unless it is a real number, or an array or list of such."""
    try:
        if np.asarray(value).dtype.kind not in "biuf":  # text, None and complex numbers are none
            raise TypeError
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {reprlib.repr(value)} must be a real number, or an array of such") from None


def require_numbers(**values: Any) -> None:
    """Raises InputError for a value that is no real number and no array of such."""
    for name, value in values.items():
        numbers(name, value)


def require_number(**values: Any) -> None:
    """Raises InputError for a value that is no single real number."""
    for name, value in values.items():
        shape = numbers(name, value).shape
        if shape:
            raise InputError(f"{name} has shape {shape}: it must be one number")


def require_whole(**values: Any) -> None:
    """Raises InputError for a value that is no whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise InputError(f"{name} = {reprlib.repr(value)} must be a whole number")


def require_seed(seed: Any) -> None:
    """Raises InputError for a seed that is no whole number from 0 on."""
    require_whole(seed=seed)
    require("seed", seed, seed >= 0, "be at least 0")


def require_workers(workers: Any) -> None:
    """Raises InputError unless it is None, a number of processes, or below 0, which joblib counts from all cores."""
    if workers is not None:
        require_whole(workers=workers)
        require("workers", workers, workers != 0, "be at least 1, or None for what joblib is configured to")


def require_tolerance(tolerance: Any) -> None:
    """Raises InputError unless it is None or a positive number."""
    if tolerance is not None:
        require_number(tolerance=tolerance)
        require("tolerance", tolerance, tolerance > 0, "be positive: it is a relative error")


def common_shape(**values: Any) -> tuple[int, ...]:
    """The shape that arrays broadcast to. Raises InputError, with all their shapes, where they do not."""
    shapes = {name: np.shape(value) for name, value in values.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise InputError(f"shapes do not broadcast: {told}") from None


def require_size(name: str, value: Any, least: float, most: float, what: str) -> None:
    """Raises InputError unless least <= value <= most. what: ends the message, "be at least 1: it is the dimension"."""
    require(name, value, value >= least, f"be at least {least:g}: {what}")
    require(name, value, value <= most, f"be at most {most:g}: {what}")


def whole_rows(name: str, size: float) -> int:
    """The whole number of rows nearest to `size`. Raises InputError for more than MOST_ROWS."""
    require_size(name, size, 0, MOST_ROWS, "it is the number of rows of an experiment")
    return round(size)


def require_some(**values: Any) -> None:
    """Raises InputError for an array without elements."""
    for name, value in values.items():
        if not np.size(value):
            raise InputError(f"{name} is empty: give at least one number")


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


def require_breaks(breaks: Any) -> None:
    """Raises InputError unless it is a sequence of numbers."""
    if numbers("breaks", breaks).ndim != 1:
        raise InputError(f"breaks = {reprlib.repr(breaks)} must be a sequence of numbers, such as (0.5,)")
