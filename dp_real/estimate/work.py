"""What an image and a training step take: operations and memory, counted without weights or data.

Operations are torch's own count (dp_real.runtime.flops) for the architectures at hand: TFLOP, 1e12 multiplications and
additions. Sizes are bytes, for one device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dp_real.config import Config
from dp_real.runtime.flops import count


@dataclass(frozen=True)
class Network:
    """The learner: its parameters, and of a row of a training step TFLOP and bytes kept for the way back in float32."""

    parameters: int
    training: float
    kept: int


def learner_network(config: Config) -> Network | None:
    """The learner, built without memory for its weights; None if it is no network, or its sizes are elsewhere."""
    shape = config.task.sample_shape
    with torch.device("meta"):
        module = config.learner.network(config.task)
    if module is None:
        return None
    row = torch.empty(1, *shape, device="meta")
    training = count(lambda: module(row).sum().backward()) / 1e12
    # What two rows keep more than one: the weights, too, are kept for the way back, but once.
    kept = kept_bytes(module, row.repeat(2, *[1] * len(shape))) - kept_bytes(module, row)
    return Network(sum(weight.numel() for weight in module.parameters()), training, kept)


def kept_bytes(module: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """What autograd keeps of module(x) for the way back; what several operations share counts once."""
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held on to, so that no other takes its number
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(storage.nbytes() for storage in kept.values())


def image_operations(config: Config, network: Network | None) -> tuple[float, float] | None:
    """TFLOP of an unguided image and of a guided one: the way back from the entropy, at the steps that are guided."""
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None or network is None:
        return None
    # Through the learner and back to the image, but not to its weights: two thirds of a training step.
    pushes = len(config.guidance.guided_steps(config.sampling.steps))
    return image.plain, image.guided + pushes * 2 / 3 * network.training


def memory(config: Config, network: Network | None) -> dict[str, float] | None:
    """Peak bytes on the device: in training, in drawing one image at a time, and for each image more at a time.

    Training: 16 bytes a parameter (weights, gradients, AdamW's moments), 4 for the average, and what autograd keeps of
    the rows of a step, half of it in bfloat16. Drawing: the same state, the pipeline's weights, and what it keeps.
    """
    if network is None:
        return None
    options = config.training
    state = network.parameters * (20 if options.ema_decay else 16)
    rows = options.batch_size * network.kept / (2 if options.precision == "bfloat16" else 1)
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None:
        return {"training": state + rows}
    kept = image.kept + network.kept
    return {"training": state + rows + image.resting, "drawing": state + image.weights + kept, "image": kept}
