"""Practice in the training programs of other libraries, one module for each."""

from numbers import Real

from dp_base.errors import InputError


def sign_of(monitor: str, mode: str | None, until: float) -> int:
    """1 for a metric that rises as the model improves, -1 for one that falls. InputError for other arguments."""
    if mode not in ("max", "min", None):
        raise InputError(f"mode = {mode!r}: should be 'max', 'min' or None")
    if not isinstance(until, Real) or not 0 <= until <= 1:
        raise InputError(f"until = {until!r}: should be a share from 0 to 1")
    return -1 if (mode or monitor[-4:]) in ("min", "loss") else 1
