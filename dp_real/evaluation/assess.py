"""What a learner makes of examples."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dp_real.guidance.entropy import entropy
from dp_real.protocols import Labelled, Learner, Rows
from dp_real.runtime.pixels import to_float
from dp_real.runtime.processes import device, slices, spread, state


@torch.no_grad()
def assess(learner: Learner, x: Rows, y: Tensor, batch_size: int = 1024) -> tuple[Tensor, Tensor]:
    """Entropy in nats [n] and whether the prediction is y, bool [n]; both on the CPU. Done by this process alone."""
    parts = [logits(learner, x[rows]) for rows in slices(slice(0, len(y)), batch_size)]
    answers = torch.cat(parts) if parts else torch.empty(0, 1)
    return entropy(answers), answers.argmax(-1) == y


def logits(learner: Learner, x: Tensor) -> Tensor:
    """[B, K] on the CPU, of floats or bytes, which travel as such."""
    return learner.logits(to_float(x.to(device()))).cpu()


def batches(n: int) -> Iterator[slice]:
    """The rows of a set of n, to be read a slice at a time by `spread`: at most 256, and as many for each process."""
    return slices(slice(0, n), max(1, min(256, -(-n // state().num_processes))))


def accuracy(learner: Learner, images: Labelled) -> float:
    """Share of rows whose prediction is the label; the processes share the work."""
    parts = spread(lambda rows: assess(learner, images.x[rows], images.y[rows])[1], batches(len(images.y)))
    correct = torch.cat(parts)
    return correct.double().mean().item()
