"""Penultimate features: what a network's last linear layer sees of each example."""

import numpy as np
import torch
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.evaluation.assess import logits
from dp_real.examples import ExampleArray
from dp_real.protocols import Learner
from dp_real.runtime.processes import slices

BATCH = 1024


@torch.no_grad()
def penultimate(learner: Learner, x: ExampleArray) -> np.ndarray:
    """The input of the learner's last linear layer [n, d], float32, for examples [n, *sample_shape]; flat if it is not.

    Raises InputError for a learner that is no network with such a layer, DivergedError for logits that are not finite.
    """
    module = getattr(learner, "in_use", None)
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)] if isinstance(module, nn.Module) else []
    if not layers:
        raise InputError("the learner has no penultimate features: it is no network with a linear layer")
    seen: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda layer, given: seen.append(given[0].flatten(1).float().cpu()))
    try:
        for rows in slices(slice(0, x.shape[0]), BATCH):
            logits(learner, x[rows])
    finally:
        hook.remove()
    return torch.cat(seen).numpy()
