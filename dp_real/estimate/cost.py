"""What a whole run will generate, train on and write, computed from its configuration alone. Sizes are in bytes."""

from __future__ import annotations

from math import prod

from dp_real.config import Config
from dp_real.estimate.jpeg import jpeg_bytes
from dp_real.estimate.work import Network


def images(config: Config) -> tuple[int, int]:
    """The numbers of plain and of guided images to draw, if every addition is made."""
    options = config.practice
    if options.examples == "real":
        return 0, 0
    added = options.additions * options.increment * config.drawn_per_row
    plain = (options.initial - options.real_examples) * options.initial_oversample
    return (plain, added) if config.guidance.guides_sampler else (plain + added, 0)


def tokens(config: Config) -> dict[str, int]:
    """About how many tokens a language model reads in prompts and writes at most, if every addition is made; 0: none.

    With guidance.likelihood_weight it also reads a prompt of each class, and the sample, for each candidate; with
    pool.soft_labels for each row, too: `judged`.
    """
    prompt, written = config.generator.tokens(config.task)
    drawn = sum(images(config))
    initial = config.practice.initial - config.practice.real_examples
    judged = drawn - initial if config.guidance.likelihood_weight else 0
    judged += config.samples - config.practice.real_examples if config.pool.soft_labels else 0
    each = config.generator.judged_tokens(config.task) if judged else 0
    return {"prompts": drawn * prompt, "written": drawn * written, "judged": judged * each}


def waiting_steps(config: Config) -> int:
    """How many optimizer steps patience takes until every addition is made, if the accuracy never rises.

    If these steps do not fit between warm-up and cool-down, the run ends with fewer additions.
    """
    options = config.practice
    sizes = (options.initial + done * options.increment for done in range(options.additions))
    return options.evaluate_every * sum(options.t_max(size) for size in sizes)


def example_bytes(config: Config) -> float:
    """Bytes of an example on disk. Other values than float32 take a byte each."""
    shape = config.pool_shape
    pool = config.pool
    if pool.storage == "jpeg" and len(shape) == 3:
        return jpeg_bytes(shape)
    bytes_per_value = 4 if pool.storage == "float32" else 1
    return bytes_per_value * prod(shape)


def pool_bytes(config: Config) -> float:
    """Bytes of the pool's examples on disk after all additions."""
    return config.samples * example_bytes(config)


def drawing_bytes(config: Config) -> float:
    """Bytes of the largest round's blocks, which lie beside the pool until the round is in it."""
    options = config.practice
    if options.examples == "real":
        return 0
    initial = options.initial * options.initial_oversample
    largest = max(initial, options.increment * options.oversample if options.additions else 0)
    return largest * example_bytes(config)


def rows_per_step(config: Config) -> int:
    """Rows of a training step, over all devices.

    A learner that is solved at once takes the whole pool, which counts here with its largest size.
    """
    return config.training.batch_size or config.samples


def checkpoint_bytes(config: Config, network: Network | None) -> float:
    """Bytes of the latest checkpoint and of those before each addition.

    A checkpoint has the weights, the two moments of AdamW, and the average of the weights if there is one.
    """
    if network is None:
        return 0
    numbers_per_weight = 4 if config.training.ema_decay else 3
    return (config.practice.additions + 1) * 4 * numbers_per_weight * network.parameters
