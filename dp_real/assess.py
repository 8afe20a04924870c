"""What a learner makes of examples."""

import torch
from torch import Tensor

from dp_real.guidance import entropy
from dp_real.parallel import slices, spread
from dp_real.pixels import to_float
from dp_real.protocols import Labelled, Learner, Rows


@torch.no_grad()
def assess(learner: Learner, x: Rows, y: Tensor, batch_size: int = 1024) -> tuple[Tensor, Tensor]:
    """Entropy in nats [n] and whether the prediction is y, bool [n]; both on the CPU. Done by this process alone."""
    batches = [learner.logits(to_float(x[rows])).cpu() for rows in slices(slice(0, len(y)), batch_size)]
    logits = torch.cat(batches) if batches else torch.empty(0, 1)
    return entropy(logits), logits.argmax(-1) == y


def accuracy(learner: Learner, images: Labelled) -> float:
    """Share of rows whose prediction is the label; the processes share the work."""
    batches = slices(slice(0, len(images.y)), 256)
    correct = torch.cat(spread(lambda rows: assess(learner, images.x[rows], images.y[rows])[1], batches))
    return correct.double().mean().item()
