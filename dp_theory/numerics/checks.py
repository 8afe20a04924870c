"""The number types of the package, and checks that raise InputError, in one line, unless a value is what they name."""

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from fractions import Fraction
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import DivergedError, InputError, MissingError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Inexact, Int, Shaped
else:  # they take as long to import as numpy, and annotations are for type checkers and tests
    Bool = Float = Inexact = Int = Shaped = Annotated

Array = NDArray[np.floating]
Real = Any  # a union of float and array would make type checkers object to every operator

Advance = Callable[[int], None]  # it is told how many steps are done


def unseen(done: int) -> None:
    """Progress that nobody follows."""


# The largest relative error of one rounded operation.
ROUNDING = np.finfo(float).eps / 2
# 4 ulp, by which a computed cosine or share may be beyond an end.
END_ROUNDING = 8 * ROUNDING

# What an experiment can have at all.
MAX_TRIALS = 10**6
MAX_D = 10**8
MAX_ROWS = 1e12
MAX_WORKERS = 10_000
MAX_WHOLE = 10**100

# The range of a ratio or a ridge. Beyond it, the formulas lose their digits or overflow.
MIN_VALUE = 1e-30
MAX_VALUE = 1e15


class ByValue:
    """A dataclass whose instances are equal, and have the same hash, if their fields do; these may be arrays."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("__eq__", "__hash__"):  # or the dataclass would make its own
            if name not in vars(cls):
                setattr(cls, name, getattr(ByValue, name))

    def _values(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in fields(self))  # pyrefly: ignore[bad-argument-type]
        return tuple(map(_comparable, values))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()  # pyrefly: ignore[missing-attribute]

    def __hash__(self) -> int:
        return hash((type(self), self._values()))


def _comparable(value: Any) -> Any:
    array = np.asarray(value) if isinstance(value, list | tuple) else value
    if not isinstance(array, np.ndarray):
        return value
    if array.dtype.kind in "biuf":
        array = array.astype(float)
    return array.shape, tuple(map(_comparable, array.flat)) if array.dtype.hasobject else array.tobytes()


def quoted(value: Any) -> str:
    """A few words for a message."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "(too many digits to show)"


def numbers(name: str, value: Any) -> Array:
    """The value as an array of float64."""
    try:
        # Text, None, complex numbers, integers beyond 64 bits and what is masked are no real numbers.
        if np.asarray(value).dtype.kind not in "biuf" or np.ma.is_masked(value):
            raise TypeError
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {quoted(value)} must be a real number, or an array of such") from None


def require_numbers(**values: Any) -> list[Array]:
    """Real numbers or arrays of such; returned as arrays."""
    return [numbers(name, value) for name, value in values.items()]


def of_arrays(name: str, function: Callable[..., Any], *arrays: Any) -> Array:
    """What a user's function makes of arrays."""
    try:
        values = np.asarray(function(*arrays), float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be a function of arrays, as np.where(t > 1, 1.0, 0.0) is, or np.vectorize({name}): {error}"
        ) from error
    if values.shape not in ((), arrays[0].shape):
        raise InputError(f"{name} has shape {values.shape} for {arrays[0].size} rows: a number, or one for each row")
    return np.broadcast_to(values, arrays[0].shape)


def require_number(**values: Any) -> list[float]:
    """Each is one real number; returned in double precision, as arithmetic keeps to the least precise."""
    given = []
    for name, value in values.items():
        number = numbers(name, value)
        if number.shape:
            raise InputError(f"{name} has shape {number.shape}: it must be one number")
        given.append(float(number))
    return given


def set_numbers(of: Any, *names: str) -> None:
    """These fields of a frozen dataclass are numbers, in double precision."""
    for name in names:
        object.__setattr__(of, name, require_number(**{name: getattr(of, name)})[0])


def require_whole(**values: Any) -> None:
    """Each is a whole number, which floating point can hold."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or abs(int(value)) > MAX_WHOLE:
            raise InputError(f"{name} = {quoted(value)} must be a whole number, of at most 100 digits")


def list_of(values: Any) -> list[Any]:
    """One value, or all of a collection."""
    return np.ravel([*values] if np.iterable(values) else values).tolist()


def require_seed(seed: Any) -> None:
    """A whole number, at least 0."""
    require_whole(seed=seed)
    require("seed", seed, seed >= 0, "be at least 0")


def require_workers(workers: Any) -> None:
    """None, or a whole number but 0: below, from all cores down."""
    if workers is not None:
        require_whole(workers=workers)
        require_size("workers", abs(workers), 1, MAX_WORKERS, "None is what joblib is configured to")


def require_tolerance(tolerance: Any) -> None:
    """None or positive."""
    if tolerance is not None:
        require_number(tolerance=tolerance)
        require("tolerance", tolerance, tolerance > 0, "be positive: it is a relative error")


def common_shape(**values: Any) -> tuple[int, ...]:
    """The shape that the values broadcast to."""
    shapes = {name: np.shape(value) for name, value in values.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        shapes_given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise InputError(f"shapes do not broadcast: {shapes_given}") from None


def require_size(name: str, value: Any, minimum: float, maximum: float, what: str) -> None:
    """`what` ends the message to a person."""
    require(name, value, value >= minimum, f"be at least {minimum:g}: {what}")
    require(name, value, value <= maximum, f"be at most {maximum:g}: {what}")


def whole_rows(name: str, size: float) -> int:
    """The whole number of rows nearest to `size`."""
    require_size(name, size, 0, MAX_ROWS, "it is the number of rows of an experiment")
    return round(size)


def require_memory(numbers: float, smaller: str) -> None:
    """So many numbers fit into the machine; `smaller` ends the message to a person."""
    needed = 8.0 * numbers
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise MissingError(
            f"the experiment takes {needed / 1e9:,.0f} GB of memory, and this machine has {there / 1e9:,.0f} GB:"
            f" give {smaller}"
        )


def require_one_of(what: str, value: Any, names: Iterable[str]) -> None:
    """One of the names."""
    if not isinstance(value, str) or value not in names:
        raise InputError(f"unknown {what} {quoted(value)}: one of {', '.join(names)}")


def require_kind(name: str, value: Any, kind: Any, what: str) -> None:
    """An instance of a class, or of one of several; `what` ends the message to a person."""
    if not isinstance(value, kind):
        raise InputError(f"{name} = {quoted(value)} must be {what}")


def require_some(**values: Any) -> None:
    """No array is empty."""
    for name, value in values.items():
        if not np.size(value):
            raise InputError(f"{name} is empty: give at least one number")


def require_positive(what: str, **values: Any) -> None:
    """Each is positive, finite and of a magnitude that formulas take; `what` ends the message to a person."""
    for name, value in values.items():
        given = numbers(name, value)
        require(name, given, (given > 0) & np.isfinite(given), f"be positive and finite: {what}")
        fits = (given >= MIN_VALUE) & (given <= MAX_VALUE)
        require(name, given, fits, f"be between {MIN_VALUE:g} and {MAX_VALUE:g}: beyond, formulas lose their digits")


def require_positive_number(what: str, **values: Any) -> None:
    """The same, and each is one number."""
    require_number(**values)
    require_positive(what, **values)


def require_ridge(**ridges: Any) -> None:
    """Each is at least 0, finite and of a magnitude that formulas take."""
    for name, value in ridges.items():
        given = numbers(name, value)
        must = "be at least 0 and finite: 0 is the ridgeless limit"
        require(name, given, (given >= 0) & np.isfinite(given), must)
        require_positive(must, **{name: given[given > 0]})


def require_in(interval: str, what: str, **values: Any) -> None:
    """Each is a real number, or an array of such, in an interval such as "[0, 1/2)"; `what` ends the message."""
    low, high = (float(Fraction(end)) for end in interval[1:-1].split(","))
    for name, value in values.items():
        numbers_given = numbers(name, value)
        near_low, near_high = (np.abs(numbers_given - end) <= END_ROUNDING * abs(end) for end in (low, high))
        at_an_end = near_low & ("[" in interval) | near_high & ("]" in interval)
        require(
            name,
            numbers_given,
            (numbers_given > low) & (numbers_given < high) | at_an_end,
            f"lie in {interval}: {what}",
        )


def clipped(cosine: Real) -> Real:
    """A cosine that rounding has left beyond an end."""
    return cosine if np.all(np.abs(cosine) <= 1) else np.clip(cosine, -1.0, 1.0)


def sine_of(cosine: Real) -> Real:
    """√(1 - cosine²), without cancellation."""
    cosine = np.asarray(cosine, float)
    return np.sqrt((1 - cosine) * (1 + cosine))


def require(name: str, value: Any, holds: Any, must: str) -> None:
    """The message is "name = value must …", with the first `value` where `holds` is false."""
    holds = np.asarray(holds)
    if not holds.all():
        value = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), holds.shape))
        first = np.broadcast_to(holds, value.shape).ravel().argmin()
        wrong = value.ravel().tolist()[first]
        shown = f"{wrong:g}" if float(f"{wrong:g}") == wrong else repr(wrong)  # six digits may hide what is wrong
        raise InputError(f"{name} = {shown} must {must}")


def set_breaks(of: Any) -> None:
    """The field `breaks` of a frozen dataclass is a sequence of numbers; it becomes a tuple, which has a hash."""
    breaks = numbers("breaks", of.breaks)
    if breaks.ndim != 1 or np.isnan(breaks).any():
        raise InputError(f"breaks = {quoted(of.breaks)} must be a sequence of numbers, such as (0.5,)")
    object.__setattr__(of, "breaks", tuple(breaks.tolist()))


@contextmanager
def finite_numbers() -> Iterator[None]:
    """What overflows, divides by zero or has no value ends in a DivergedError."""
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except (FloatingPointError, OverflowError, np.linalg.LinAlgError) as error:
        raise DivergedError(
            f"numbers leave the range of floating point ({error}): an argument or a number of a file is too large or "
            "too small for the formulas; give one nearer to 1"
        ) from error
