"""What a whole run will generate, train on and write, computed from its configuration alone. Sizes are in bytes."""

from __future__ import annotations

from math import prod

from dp_real.config import Config
from dp_real.estimate.jpeg import jpeg_bytes
from dp_real.estimate.work import Network


def images(config: Config) -> tuple[int, int]:
    """The numbers of unguided and of guided images to draw, if every addition is made."""
    options = config.practice
    if options.examples == "real":
        return 0, 0
    added, plain = options.additions * options.increment * config.drawn_per_row, options.initial - options.real_examples
    return (plain, added) if config.guidance.guides_sampler else (plain + added, 0)


def tokens(config: Config) -> dict[str, int]:
    """About how many tokens a language model reads in prompts and writes at most, if every addition is made; 0: none.

    With guidance.likelihood_weight it also reads a prompt of each class, and the text, for each candidate; with
    pool.soft_labels for each row, too: `judged`.
    """
    prompt, written = config.generator.tokens(config.task)
    drawn = sum(images(config))
    initial = config.practice.initial - config.practice.real_examples
    judged = drawn - initial if config.guidance.likelihood_weight else 0
    judged += config.samples - config.practice.real_examples if config.pool.soft_labels else 0
    each = config.task.n_classes * (prompt + written)
    return {"prompts": drawn * prompt, "written": drawn * written, "judged": judged * each}


def waiting_steps(config: Config) -> int:
    """Optimizer steps that patience takes until every addition is made, if the accuracy never rises meanwhile.

    If they do not fit between warm-up and cool-down, the run ends with fewer additions.
    """
    options = config.practice
    sizes = (options.initial + done * options.increment for done in range(options.additions))
    return options.evaluate_every * sum(options.t_max(size) for size in sizes)


def example_bytes(config: Config) -> float:
    """Bytes of an example on disk, of a text of full length without accents."""
    shape, pool = config.pool_shape, config.pool
    if pool.storage == "jpeg" and len(shape) == 3:
        return jpeg_bytes(shape, pool.quality)
    return {"float32": 4, "uint8": 1, "jpeg": 1, "text": 1}[pool.storage] * prod(shape)


def pool_bytes(config: Config) -> float:
    """Bytes of the pool's examples on disk after all additions."""
    return config.samples * example_bytes(config)


def drawing_bytes(config: Config) -> float:
    """Most bytes of the blocks of a round, which lie beside the pool until the round is in it."""
    options = config.practice
    if options.examples == "real":
        return 0
    largest = max(options.initial, options.increment * options.oversample if options.additions else 0)
    return largest * example_bytes(config)


def rows_per_step(config: Config) -> int:
    """Rows of a training step, over all devices; of the whole pool, at its largest, if it is solved at once."""
    return config.training.batch_size or config.samples


def checkpoint_bytes(config: Config, network: Network | None) -> float:
    """Bytes of the checkpoints before each addition and of the latest: weights, AdamW's two moments, and the EMA."""
    copies = 3 + bool(config.training.ema_decay)
    return (config.practice.additions + 1) * 4 * copies * (network.parameters if network else 0)
