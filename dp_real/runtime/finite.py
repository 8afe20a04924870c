"""Finite or not: numbers are checked where they are born, and not in every step, which would wait for the device."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dp_base.errors import DivergedError

LEARNER = "lower training.learning_rate or training.weight_decay, or set training.max_grad_norm"


def require_finite(what: str, remedy: str, values: Iterable[Tensor]) -> None:
    """Raise DivergedError unless all these tensors are finite. what, remedy: begin and end the message."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise DivergedError(f"{what} are not finite: {remedy}")


class LossWatch:
    """Watches the loss of a training loop without slowing it: it looks each EVERY steps, and at the end.

    what: is trained. remedy: ends the message.
    """

    EVERY = 100

    def __init__(self, what: str, remedy: str, steps: int) -> None:
        self.what, self.remedy, self.steps = what, remedy, steps
        self.step = 0

    def see(self, loss: Tensor) -> None:
        """The loss of the next step, a scalar. Raises DivergedError if it is looked at, and not finite."""
        self.step += 1
        if self.step % self.EVERY == 0 or self.step == self.steps:
            require_finite(f"training {self.what}: step {self.step}: losses", self.remedy, [loss])


def require_samples(samples: Tensor, what: str, remedy: str) -> None:
    """Raise DivergedError if one of the samples [B, ...] is not finite, an image of one value throughout, or no text.

    what: names the samples in the message.
    """
    for fault, bad in faults(samples).items():
        if bad.any():
            raise DivergedError(f"{what}: {int(bad.sum())} of {len(samples)} samples are {fault}: {remedy}")


def faults(samples: Tensor) -> dict[str, Tensor]:
    """Which of the samples [B, ...] have a fault, bool [B], by the fault's name. Integers are texts."""
    rows = samples.flatten(1)
    if not samples.is_floating_point():
        return {"empty": (rows == 0).all(1)}
    image = samples.dim() == 4 and samples.shape[2:].numel() > 1
    constant = (rows == rows[:, :1]).all(1) if image else torch.zeros(len(rows), dtype=torch.bool)
    return {"not finite": ~rows.isfinite().all(1), "of one value throughout": constant}


def unusable(samples: Tensor) -> Tensor:
    """Which of the samples [B, ...] have any fault, bool [B]."""
    return torch.stack([*faults(samples).values()]).any(0)
