"""Types that every room uses, and the check that says in one line what input must hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import InputError

Array = NDArray[np.floating]
ROUNDING = np.finfo(float).eps / 2  # largest relative error of one rounded operation
Real = Any  # a float or an array of float64; as a union it would defeat type checkers at every operator


def require(name: str, value: Any, holds: Any, must: str) -> None:
    """Raises InputError "name = value must …" with the first element of `value` where `holds` is false.

    value and holds broadcast.
    """
    holds = np.asarray(holds)
    if not holds.all():
        value = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), holds.shape))
        first = np.broadcast_to(holds, value.shape).ravel().argmin()
        raise InputError(f"{name} = {value.ravel()[first]:g} must {must}")
