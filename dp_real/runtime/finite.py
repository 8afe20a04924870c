"""Checks numbers where they arise, but not in every step, since that waits for the device."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dp_base.errors import DivergedError

# For texts (False) and numbers (True): the share of a block that may be useless, and how often a sample is redrawn.
# Language models refuse some prompts.
TOLERATED = {True: (0.1, 3), False: (0.5, 10)}
LEARNER_REMEDY = "lower training.learning_rate or training.weight_decay, or set training.max_grad_norm"
"""The remedy if a learner's numbers are not finite."""


def require_finite(what: str, remedy: str, values: Iterable[Tensor]) -> None:
    """Raise DivergedError, "`what` … `remedy`", unless all are finite."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise DivergedError(f"{what} are not finite: {remedy}")


def require_samples(samples: Tensor, what: str, remedy: str) -> None:
    """Raise DivergedError, "`what` … `remedy`", if a sample has one of the `faults`."""
    for fault, bad in faults(samples).items():
        if bad.any():
            raise DivergedError(f"{what}: {int(bad.sum())} of {len(samples)} samples are {fault}: {remedy}")


def faults(samples: Tensor) -> dict[str, Tensor]:
    """Which samples have each fault, bool [B]: codes all zero, numbers not finite, images of one value."""
    rows = samples.flatten(1)
    if not samples.is_floating_point():
        return {"empty": (rows == 0).all(1)}
    is_image = samples.dim() == 4 and samples.shape[2:].numel() > 1
    constant = (rows == rows[:, :1]).all(1) if is_image else torch.zeros(len(rows), dtype=torch.bool)
    return {"not finite": ~rows.isfinite().all(1), "of one value throughout": constant}


def unusable(samples: Tensor) -> Tensor:
    """Which samples have any fault, bool [B]."""
    return torch.stack([*faults(samples).values()]).any(0)
