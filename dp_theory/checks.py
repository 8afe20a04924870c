"""What input must hold, said in one line where it does not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_base.errors import InputError

Array = NDArray[np.floating]
Real = Any  # a float or an array of float64; as a union it would defeat type checkers at every operator


def require(name: str, value: Any, holds: Any, must: str) -> None:
    """Raise InputError "name = value must …" at the first element of `value` where `holds` is false."""
    holds = np.asarray(holds)
    if not holds.all():
        value = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), holds.shape))
        first = np.broadcast_to(holds, value.shape).ravel().argmin()
        raise InputError(f"{name} = {value.ravel()[first]:g} must {must}")
