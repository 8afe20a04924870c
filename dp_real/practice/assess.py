"""Measures how hard examples are for a learner, by its logits alone."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dp_real.data.examples import ExampleArray
from dp_real.guidance.entropy import entropy, hardness
from dp_real.runtime.distributed import device, slices
from dp_real.runtime.finite import LEARNER_REMEDY, require_finite
from dp_real.runtime.pixels import to_float

Logits = Callable[[Tensor], Tensor]
"""A function of examples [batch, *sample], on the device, to logits [batch, classes]."""
ROWS = 1024  # of one forward pass


@torch.no_grad()
def assess(
    logits: Logits, x: ExampleArray, y: Int64[Tensor, " n"], objective: Callable[[Tensor], Tensor] = entropy
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Each row's entropy in nats, or `objective`, and whether the prediction is y. This process computes alone."""
    parts = [cpu_logits(logits, x[rows]) for rows in slices(slice(0, len(y)), ROWS)]
    answers = torch.cat(parts) if parts else torch.empty(0, 2)
    hard = hardness(objective, answers)
    require_finite("the objective's numbers", "mend guidance.objective", [hard])
    return hard, answers.argmax(-1) == y


def cpu_logits(logits: Logits, x: Tensor) -> Float[Tensor, "batch classes"]:
    """The logits of floats, codes or uint8, on the CPU."""
    answers = logits(to_float(x.to(device()))).cpu()
    require_finite("the learner's logits", LEARNER_REMEDY, [answers])
    return answers
