"""The operations and the memory of an image and of a training step, counted without weights or data.

Operations are counted by torch's formulas (dp_real.runtime.flops). Their unit is the TFLOP, which is 1e12
multiplications and additions. Sizes are in bytes, for one device.
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
    """The size of a learner that is a network."""

    parameters: int
    training: float  # TFLOP of a row of a training step
    kept: int  # bytes that a row keeps for the backward pass, in float32


def learner_network(config: Config) -> Network | None:
    """The size of the learner, found from a module without memory for its weights.

    None if LearnerConfig.network gives no module, or if the module asks for the values of its input, which has no
    memory either.
    """
    shape = config.task.sample_shape
    with torch.device("meta"):
        module = config.learner.network(config.task)
    if module is None:
        return None
    row = torch.empty(1, *shape, device="meta")
    try:
        training = count(lambda: module(row).sum().backward()) / 1e12
        # The weights are kept for the backward pass, too, but only once. So the bytes of one row are a difference.
        two_rows = row.repeat(2, *[1] * len(shape))
        kept = kept_bytes(module, two_rows) - kept_bytes(module, row)
    except RuntimeError:
        return None
    return Network(sum(weight.numel() for weight in module.parameters()), training, kept)


def kept_bytes(module: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that autograd keeps of module(x) for the backward pass. Shared memory counts once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # it is held, so that no other storage gets its address
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(storage.nbytes() for storage in kept.values())


def image_operations(config: Config, network: Network | None) -> tuple[float, float] | None:
    """TFLOP of an unguided and of a guided image, with the learner's part of the guidance. None if not known."""
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None or network is None:
        return None
    # A guidance step goes through the learner and back to the image, but not to the weights. That is two thirds of a
    # training step.
    return image.plain, image.guided + len(config.guided_steps) * 2 / 3 * network.training


def memory(config: Config, network: Network | None) -> dict[str, float] | None:
    """The peak bytes on the device, in `training` one row at a time and in `drawing` one image at a time.

    `row` and `image` are the bytes that each further row or image takes.

    Training takes 16 bytes per parameter (weights, gradients and AdamW's moments), and 4 more with an average of the
    weights. To these come what autograd keeps of a row (half of it in bfloat16), and the generator's weights that stay
    on the device. Drawing takes the same bytes per parameter, the generator's weights, and what autograd keeps of a
    guided image.

    None if the learner's size is not known. If the generator's is not known, it has only training.
    """
    if network is None:
        return None
    options = config.training
    state = network.parameters * (20 if options.ema_decay else 16)
    row = network.kept / (2 if options.precision == "bfloat16" else 1)
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None:
        return {"training": state + row, "row": row}
    one_image = image.kept + network.kept
    return {
        "training": state + row + image.resident,
        "row": row,
        "drawing": state + image.weights + one_image,
        "image": one_image,
    }
