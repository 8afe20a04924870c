"""What a run draws, trains on, computes and stores, counted from its configuration alone.

Operations are in TFLOP, sizes in bytes.
"""

from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import nn

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.data.examples import Task
from dp_real.data.sets.imagenet import imagenet_of
from dp_real.learners import LearnerConfig, PretrainedConfig
from dp_real.runtime.computing import count
from dp_real.runtime.hub import headers_only
from dp_real.runtime.model_folders import folder_here

JPEG = 0.47  # bytes per number: 71,000 for a colour photograph of 224 x 224 pixels
IMAGENET = 50  # validation images per class


def images(config: Config) -> tuple[int, int]:
    """Plain and guided images, if every addition is made."""
    options = config.practice
    added = options.additions * options.increment * config.drawn_per_row
    plain = (options.initial - options.real) * options.initial_oversample
    return (plain, added) if config.guidance.guides_sampler else (plain + added, 0)


def tokens(config: Config) -> dict[str, int]:
    """About the tokens that a language model reads, and at most writes; `judged` are those of likelihoods."""
    prompt, written = config.generator.tokens(config.task)
    drawn = sum(images(config))
    initial = config.practice.initial - config.practice.real
    judged = drawn - initial if config.guidance.likelihood_weight else 0
    judged += config.samples - config.practice.real if config.pool.soft_labels else 0
    each = config.task.n_classes * (prompt + written)
    return {"prompts": drawn * prompt, "written": drawn * written, "judged": judged * each}


def rows(config: Config) -> int:
    """The most rows of the pool after all additions, with those of data.real_per_class, which are halved for a loop."""
    each = config.data.real_per_class
    return config.samples + config.task.n_classes * (-(-each // 2) if config.practice.additions else each)


def waiting_steps(config: Config) -> int:
    """The steps until every addition is made, if the accuracy never rises."""
    options = config.practice
    sizes = (rows(config) - left * options.increment for left in range(1, options.additions + 1))
    return options.evaluate_every * sum(options.t_max(size) for size in sizes)


def rows_per_step(config: Config) -> int:
    """Rows over all devices; a solver uses the whole pool."""
    return config.training.batch_size or rows(config)


def validated(config: Config) -> int | None:
    """The size of the validation set; ImageNet's is known without it."""
    images = next((each.images for each in config.data.describe() if each.what == "validation"), None)
    classes = config.task.classes
    return IMAGENET * len(classes) if images is None and imagenet_of(classes) else images


class Network(NamedTuple):
    """The size of a learner that is a network."""

    parameters: int
    training: float  # TFLOP per row of a training step


def learner_network(config: Config) -> Network | None:
    """Count without memory for weights; None if they are missing, or if the module depends on its input's values."""
    return _network(type(config.learner), config.learner.model_dump_json(), config.task)


@cache
def _network(kind: type[LearnerConfig], section: str, task: Task) -> Network | None:
    with torch.device("meta"), headers_only():
        module = _module(kind.model_validate_json(section), task)
        row = torch.empty(1, *task.sample_shape)
    if module is None:
        return None
    try:
        training = count(lambda: module(row).sum().backward()) / 1e12
    except RuntimeError:
        return None
    return Network(sum(weight.numel() for weight in module.parameters()), training)


def _module(learner: LearnerConfig, task: Task) -> nn.Module | None:
    if not isinstance(learner, PretrainedConfig) or learner.model is None:
        return learner.network(task)
    folder = folder_here(learner.model)
    try:
        return learner.known(str(folder), task) if folder else None
    except (OSError, ValueError, MissingError):  # `needs` reports it
        return None


def image_operations(config: Config, network: Network | None) -> tuple[tuple[float, float], ...] | None:
    """TFLOP in generator and learner, for a plain and a guided image; None: unknown."""
    image = config.generator.image_cost(config.sampling, config.guidance)
    if image is None or network is None:
        return None
    # A guidance step goes through the learner and back to the image, not to the weights: two thirds of a training step.
    return (image.plain, 0.0), (image.guided, len(config.guided_steps) * 2 / 3 * network.training)


def disk(config: Config, network: Network | None) -> dict[str, float]:
    """Bytes of the final pool, of blocks of the largest round besides it, and of checkpoints.

    If a round is kept whole, its blocks become the pool's files.
    """
    options, pool = config.practice, config.pool
    values = prod(config.pool_shape) * {"jpeg": JPEG, "float32": 4}.get(pool.storage, 1)
    added = options.increment * options.oversample if options.additions else 0
    largest = max(options.initial * options.initial_oversample, added) if options.needs_generator else 0
    real = options.real or config.data.real_per_class
    copied = pool.marks or pool.distinct or real or max(options.initial_oversample, options.oversample) > 1
    weights = network.parameters * (4 if config.training.ema_decay else 3) if network else 0
    return {
        "pool": rows(config) * values,
        "drawing": largest * values if copied else 0,
        "checkpoints": (options.additions + 1) * 4 * weights,
    }
