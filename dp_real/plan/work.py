"""What a run draws, trains on, computes and keeps, counted from its configuration alone.

Operations are in TFLOP, sizes in bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dp_real.config import Config
from dp_real.examples import Task
from dp_real.learners import LearnerConfig
from dp_real.runtime.flops import count

JPEG = 0.47  # bytes for each number of a photograph: 71,000 of one of 224 x 224 pixels in colour


def images(config: Config) -> tuple[int, int]:
    """Plain and guided ones, if every addition is made."""
    options = config.practice
    added = options.additions * options.increment * config.drawn_per_row
    plain = (options.initial - options.real) * options.initial_oversample
    return (plain, added) if config.guidance.guides_sampler else (plain + added, 0)


def tokens(config: Config) -> dict[str, int]:
    """About how many a language model reads and writes at most; `judged` are those of likelihoods."""
    prompt, written = config.generator.tokens(config.task)
    drawn = sum(images(config))
    initial = config.practice.initial - config.practice.real
    judged = drawn - initial if config.guidance.likelihood_weight else 0
    judged += config.samples - config.practice.real if config.pool.soft_labels else 0
    each = config.task.n_classes * (prompt + written)
    return {"prompts": drawn * prompt, "written": drawn * written, "judged": judged * each}


def waiting_steps(config: Config) -> int:
    """The steps that patience takes until every addition is made, if the accuracy never rises."""
    options = config.practice
    sizes = (options.initial + done * options.increment for done in range(options.additions))
    return options.evaluate_every * sum(options.t_max(size) for size in sizes)


def rows_per_step(config: Config) -> int:
    """Over all devices; a solver's are all of the largest pool."""
    return config.training.batch_size or config.samples


@dataclass(frozen=True)
class Network:
    """The size of a learner that is a network."""

    parameters: int
    training: float  # TFLOP of a row of a training step
    kept: int  # bytes that a row keeps for the backward pass, in float32


def learner_network(config: Config) -> Network | None:
    """Found without memory for weights; None if the module asks for the values of its input."""
    return _network(type(config.learner), config.learner.model_dump_json(), config.task)


@cache
def _network(kind: type[LearnerConfig], section: str, task: Task) -> Network | None:
    shape = task.sample_shape
    with torch.device("meta"):
        module = kind.model_validate_json(section).network(task)
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
    """What autograd keeps for the backward pass with fused attention; shared memory counts once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # it is held, so that no other storage gets its address
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), _Fused():
        module(x)
    return sum(storage.nbytes() for storage in kept.values())


class _Attention(torch.autograd.Function):
    """Keeps what fused attention keeps: not its weights, which are computed again."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return query.new_empty(*query.shape[:-1], value.shape[-1])


class _Fused(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            return _Attention.apply(given["query"], given["key"], given["value"])
        return func(*args, **(kwargs or {}))


def image_operations(config: Config, network: Network | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """TFLOP of an unguided and a guided image, by denoiser, decoder and learner; None: not known."""
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None or network is None:
        return None
    # A guidance step goes through the learner and back to the image, but not to the weights. That is two thirds of a
    # training step.
    return (*image.plain, 0.0), (*image.guided, len(config.guided_steps) * 2 / 3 * network.training)


def memory(config: Config, network: Network | None) -> dict[str, float] | None:
    """Peak bytes in `training` and `drawing` with one row, and of each further `row` and `image`.

    A parameter takes 16 (weights, gradients, AdamW's moments), with an average 20.
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


def disk(config: Config, network: Network | None) -> dict[str, float]:
    """Bytes of the final pool, the largest round while it is drawn, and the checkpoints."""
    options = config.practice
    values = prod(config.pool_shape) * {"jpeg": JPEG, "float32": 4}.get(config.pool.storage, 1)
    initial = options.initial * options.initial_oversample
    largest = max(initial, options.increment * options.oversample if options.additions else 0)
    weights = network.parameters * (4 if config.training.ema_decay else 3) if network else 0
    return {
        "pool": config.samples * values,
        "drawing": largest * values if options.draws else 0,
        "checkpoints": (options.additions + 1) * 4 * weights,
    }
