"""Penultimate features: the input of a network's last linear layer, for each example."""

import numpy as np
import torch
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.distributed import slices
from dp_real.evaluation.assess import logits
from dp_real.examples import ExampleArray
from dp_real.protocols import Learner

BATCH = 1024  # examples that are computed together


@torch.no_grad()
def penultimate(learner: Learner, x: ExampleArray) -> np.ndarray:
    """Return the input of the learner's last linear layer, float32 [n, d], for examples [n, *sample_shape].

    An input of more axes is flattened. Raises InputError for a learner without such a layer, DivergedError if a logit
    is not finite.
    """
    module = getattr(learner, "in_use", None)
    modules = module.modules() if isinstance(module, nn.Module) else ()
    linear_layers = [layer for layer in modules if isinstance(layer, nn.Linear)]
    if not linear_layers:
        raise InputError("the learner has no penultimate features: it is no network with a linear layer")
    seen: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].flatten(1).float().cpu())

    hook = linear_layers[-1].register_forward_pre_hook(keep)
    try:
        for rows in slices(slice(0, x.shape[0]), BATCH):
            logits(learner, x[rows])
    finally:
        hook.remove()
    return torch.cat(seen).numpy()
