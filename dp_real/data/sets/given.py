"""Samples that a user's function gave."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dp_base.errors import InputError


def as_numbers(given: Any, shape: tuple[int, ...], giver: str) -> Float32[Tensor, "batch *sample"]:
    """Return the array of floats that a function gave as samples of `shape`, (batch, *sample_shape), images in [-1, 1].

    Raises InputError, which begins with `giver`, if it is no array, or has another shape, type or range.
    """
    if not isinstance(given, np.ndarray | Tensor):
        raise InputError(f"{giver} gave a {type(given).__name__}: should be an array of numpy or torch")
    if tuple(given.shape) != shape:
        raise InputError(f"{giver} gave shape {[*given.shape]} for {shape[0]} labels: should be {[*shape]}")
    floats = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
    if not floats:
        raise InputError(f"{giver} gave {given.dtype}: should be floats, images in [-1, 1]")
    given = given.detach() if isinstance(given, Tensor) else torch.from_numpy(given.astype(np.float32))
    x = given.to("cpu", torch.float32, copy=True)
    beyond = x[x.isfinite() & (x.abs() > 1)] if len(shape) == 4 else x[:0]  # the others are redrawn, as anywhere
    if len(beyond):
        raise InputError(f"{giver} gave values from {x.min():g} to {x.max():g}: should be in [-1, 1]")
    return x
