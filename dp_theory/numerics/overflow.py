"""Numbers that overflow are errors, not warnings: what follows from them is wrong, and often looks right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dp_base.errors import DivergedError


@contextmanager
def finite_numbers() -> Iterator[None]:
    """Within the block, what overflows, divides by zero or has no value ends in a DivergedError, where NumPy would warn
    and go on.

    Formulas that expect such numbers say so by an `np.errstate` of their own. A number that underflows is 0, which is
    what it nearly is.
    """
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except (FloatingPointError, OverflowError, np.linalg.LinAlgError) as error:
        raise DivergedError(
            f"numbers leave the range of floating point ({error}): an argument or a number of a file is too large or "
            "too small for the formulas; give one nearer to 1"
        ) from error
