"""Measures a learner on examples: entropy, correctness and accuracy."""

from collections.abc import Callable

import torch
from torch import Tensor

from dp_real.distributed import device, distribute, read_slices, slices
from dp_real.examples import ExampleArray, ExampleSet
from dp_real.guidance.entropy import entropy
from dp_real.protocols import Learner
from dp_real.runtime.finite import LEARNER, require_finite
from dp_real.runtime.pixels import to_float


@torch.no_grad()
def assess(
    learner: Learner,
    x: ExampleArray,
    y: Tensor,
    batch_size: int = 1024,
    hardness: Callable[[Tensor], Tensor] = entropy,
) -> tuple[Tensor, Tensor]:
    """Return the entropy of each row in nats [n], and whether the prediction is y, bool [n], on the CPU.

    `hardness` may be another measure of logits [n, K]. This process does all the work. Raises DivergedError if a logit
    is not finite.
    """
    parts = [logits(learner, x[rows]) for rows in slices(slice(0, len(y)), batch_size)]
    answers = torch.cat(parts) if parts else torch.empty(0, 1)
    return hardness(answers), answers.argmax(-1) == y


def logits(learner: Learner, x: Tensor) -> Tensor:
    """Return logits [B, K], on the CPU. Examples in uint8 are converted on the device.

    Raises DivergedError if a logit is not finite.
    """
    answers = learner.logits(to_float(x.to(device()))).cpu()
    require_finite("the learner's logits", LEARNER, [answers])
    return answers


@torch.no_grad()
def predictions(learner: Learner, images: ExampleSet, among: Tensor | None = None) -> Tensor:
    """Return the predicted class of each row, int64 [n], in the precision of training. The processes share the work.

    `among` are the classes to choose from, by default all. Raises DivergedError if a logit is not finite.
    """
    precision = getattr(torch, learner.precision)

    def predict(rows: slice) -> Tensor:
        with torch.autocast(device().type, precision, enabled=precision != torch.float32):
            answers = logits(learner, images.x[rows])
        return answers.argmax(1) if among is None else among[answers[:, among].argmax(1)]

    return torch.cat(distribute(predict, read_slices(len(images.y))))


def accuracy(learner: Learner, images: ExampleSet) -> float:
    """Return the share of rows whose prediction is the label."""
    return (predictions(learner, images) == images.y).double().mean().item()
