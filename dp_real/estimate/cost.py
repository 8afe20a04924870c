"""What a whole run will generate and cost, computed from its configuration alone.

Sizes are in bytes. Hours are device-hours, of all devices together, unless they are by the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any

from dp_real.config import Config
from dp_real.estimate.jpeg import jpeg_bytes
from dp_real.estimate.speed import Seconds
from dp_real.estimate.work import Network, memory


def images(config: Config) -> tuple[int, int]:
    """The numbers of unguided and of guided images to draw, if every addition is made."""
    options = config.practice
    if options.examples == "real":
        return 0, 0
    added, plain = options.additions * options.increment * config.drawn_per_row, options.initial - options.real_examples
    return (plain, added) if config.guidance.pushes else (plain + added, 0)


def tokens(config: Config) -> dict[str, int]:
    """About how many tokens a language model reads in prompts and writes at most, if every addition is made; 0: none.

    With guidance.doubt it also reads a prompt of each class, and the text, for each candidate: `judged`.
    """
    prompt, written = config.generator.tokens(config.task)
    drawn = sum(images(config))
    initial = config.practice.initial - config.practice.real_examples
    judged = (drawn - initial) * config.task.n_classes if config.guidance.doubt else 0
    return {"prompts": drawn * prompt, "written": drawn * written, "judged": judged * (prompt + written)}


def waiting_steps(config: Config) -> int:
    """Optimizer steps that patience takes until every addition is made, if the accuracy never rises meanwhile.

    If they do not fit between warm-up and cool-down, the run ends with fewer additions.
    """
    options = config.practice
    sizes = (options.initial + done * options.increment for done in range(options.additions))
    return options.evaluate_every * sum(options.t_max(size) for size in sizes)


def example_bytes(config: Config) -> float:
    """Bytes of an example on disk, of a text of full length without accents."""
    shape, pool = config.task.sample_shape, config.pool
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


def costs(
    config: Config, network: Network | None, seconds: Seconds, devices: Sequence[int], validation: int | None = None
) -> dict[str, Any]:
    """All costs in one record. `hours` has a row for each number of `devices`; `validation`: see there."""
    plain, guided = images(config)
    options = config.training
    return {
        "images": {"plain": plain, "guided": guided},
        "tokens": tokens(config),
        "steps": options.steps,
        "rows_per_step": rows_per_step(config),
        "constant_steps": options.steps - options.warmup_steps - options.cooldown_steps,
        "waiting_steps": waiting_steps(config),
        "bytes": {
            "pool": pool_bytes(config),
            "drawing": drawing_bytes(config),
            "checkpoints": checkpoint_bytes(config, network),
        },
        "memory": memory(config, network),
        "seconds": asdict(seconds),
        "hours": [hours(config, seconds, number, validation) for number in devices],
    }


def hours(config: Config, seconds: Seconds, devices: int, validation: int | None = None) -> dict[str, Any]:
    """Device-hours of drawing, training and validating, and hours by the clock, on `devices` devices.

    The devices share the rows of a step. A part is None if it is not known; the clock is None if drawing or training
    is. validation: the number of validation images, if known.
    """
    plain, guided = images(config)
    steps, rows = config.training.steps, rows_per_step(config)
    evaluations = steps // config.practice.evaluate_every
    drawing = _hours((plain, seconds.plain), (guided, seconds.guided))
    training = _hours((steps * rows, seconds.row))
    forward = seconds.row and seconds.row / 3
    validating = None if validation is None else _hours((evaluations * validation, forward))
    parts = {"drawing": drawing, "training": training, "validating": validating}
    clock = None if drawing is None or training is None else (drawing + training + (validating or 0)) / devices
    return (
        {"devices": devices, "rows_per_step": rows, "rows_per_device": -(-rows // devices)} | parts | {"clock": clock}
    )


def _hours(*parts: tuple[int, float | None]) -> float | None:
    """Hours of all parts, each a number of things and the seconds of one. None if a needed one is not known."""
    needed = [(number, seconds) for number, seconds in parts if number]
    known = [number * seconds for number, seconds in needed if seconds is not None]
    return sum(known) / 3600 if len(known) == len(needed) else None
