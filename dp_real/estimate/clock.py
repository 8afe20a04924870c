"""How long a run takes on several devices, and what it waits for.

A training step waits for its rows to be computed on each device, and then for the sum of the gradients. If reading the
rows takes longer than both, it waits for that. Rounds are drawn in whole blocks. What is not known of a machine is
assumed below. The rates are those of good hardware, published (docs/results/cost.md) or measured on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

from dp_real.config import Config
from dp_real.estimate import cost
from dp_real.estimate.speed import Seconds
from dp_real.estimate.work import Network, memory
from dp_real.practice import CHECKPOINT_EVERY

MACHINE = 8  # devices of a machine
WITHIN_MACHINE = 200e9  # bytes/s of a sum over the devices of a machine (NCCL's bus bandwidth)
BETWEEN_MACHINES = 30e9  # bytes/s of a sum over several machines
READERS = 8  # cores that decode for a device of another machine (dp_real.pool.loader has a thread on each)
DECODED = 5.1e-9  # seconds of a core for each number of a JPEG, which are 1,300 images of 224 x 224 a second
DISK = 1e9  # bytes/s, written by all processes together
COPIES = 3  # times that a sample's bytes go through the disk: into its block, into the pool, and for its checksum
HOUR = 3600  # seconds


def hours(
    config: Config,
    network: Network | None,
    seconds: Seconds,
    devices: int,
    validation: int | None = None,
    readers: int = READERS,
) -> dict[str, Any]:
    """Return what a run takes on `devices` devices, which share the rows of a step.

    `validation` is the number of validation images, if it is known. `readers` cores decode the rows of each device. The
    result has these keys:

    - `devices`, `rows_per_step` and `rows_per_device`;
    - `drawing`, `training` and `validating`, in device-hours;
    - `gradients` and `reading`, in hours by the clock, as far as training waits for them;
    - `writing`, of samples and checkpoints, in hours by the clock;
    - `clock`, the hours of all together, which are likely between `low` and `high`;
    - `binds`, the part that takes the most time.

    A part is None if it is not known. If drawing or training is not known, all that depends on them is None.
    """
    plain, guided = cost.images(config)
    steps = config.training.steps
    rows = cost.rows_per_step(config)
    evaluations = steps // config.practice.evaluate_every
    forward_pass = seconds.row and seconds.row / 3  # the backward pass takes twice as long
    drawing = _hours((plain, seconds.plain), (guided, seconds.guided))
    training = _hours((steps * rows, seconds.row))
    validating = None if validation is None else _hours((evaluations * validation, forward_pass))
    rows_per_device = -(-rows // devices)
    record: dict[str, Any] = {
        "devices": devices,
        "rows_per_step": rows,
        "rows_per_device": rows_per_device,
        "drawing": drawing,
        "training": training,
        "validating": validating,
    }
    if drawing is None or training is None:
        return record | dict.fromkeys(("gradients", "reading", "writing", "clock", "low", "high", "binds"))
    # A learner that is solved on the whole pool has all its rows in each process.
    own_rows = rows_per_device if config.training.batch_size else rows
    computing = steps * own_rows * (seconds.row or 0) / HOUR
    gradients = steps * summing(network, devices) / HOUR
    reading = steps * own_rows * decoding(config) / readers / HOUR
    waits = {
        "drawing": drawing * idle(config, devices) / devices,
        "training": computing,
        "validating": (validating or 0) / devices,
        "gradients": gradients,
        "reading": max(0.0, reading - computing - gradients),
        "writing": writing(config, network) / HOUR,
    }
    clock = sum(waits.values())
    record |= {name: waits[name] for name in ("gradients", "reading", "writing")}
    record |= {"clock": clock, "low": clock / seconds.spread, "high": clock * seconds.spread}
    record["binds"] = max(waits, key=lambda name: waits[name])
    return record


def costs(
    config: Config,
    network: Network | None,
    seconds: Seconds,
    devices: Sequence[int],
    validation: int | None = None,
    readers: int = READERS,
) -> dict[str, Any]:
    """Return all costs in one record. Its key `hours` has what `hours` returns for each number of devices."""
    plain, guided = cost.images(config)
    options = config.training
    return {
        "images": {"plain": plain, "guided": guided},
        "tokens": cost.tokens(config),
        "steps": options.steps,
        "rows_per_step": cost.rows_per_step(config),
        "constant_steps": options.steps - options.warmup_steps - options.cooldown_steps,
        "waiting_steps": cost.waiting_steps(config),
        "bytes": {
            "pool": cost.pool_bytes(config),
            "drawing": cost.drawing_bytes(config),
            "checkpoints": cost.checkpoint_bytes(config, network),
        },
        "memory": memory(config, network),
        "seconds": asdict(seconds),
        "hours": [hours(config, network, seconds, number, validation, readers) for number in devices],
    }


def summing(network: Network | None, devices: int) -> float:
    """The seconds of the sum of the gradients in a step. Each device sends almost twice their float32 bytes."""
    if network is None or devices == 1:
        return 0.0
    bandwidth = WITHIN_MACHINE if devices <= MACHINE else BETWEEN_MACHINES
    return 2 * (devices - 1) / devices * 4 * network.parameters / bandwidth


def decoding(config: Config) -> float:
    """The seconds of a core to decode an example of the pool, 0 if it is stored as numbers."""
    if config.pool.storage != "jpeg":
        return 0.0
    channels, height, width = config.pool_shape
    return DECODED * channels * height * width


def cores(config: Config, seconds: Seconds) -> float | None:
    """The cores that a device keeps busy: those that decode as fast as it trains, and one that drives it.

    None if training's speed is not known, or if no row of the pool is decoded.
    """
    if not seconds.row or not decoding(config):
        return None
    return 1 + decoding(config) / seconds.row


def idle(config: Config, devices: int) -> float:
    """The factor, a mean over all samples, by which drawing takes longer because rounds are shared in whole blocks."""
    options = config.practice
    block = config.sampling.block_size
    rounds = [options.initial, *[options.increment * options.oversample] * options.additions]
    taken = 0
    for rows in rounds:
        blocks = ceil(rows / block)
        blocks_per_device = ceil(blocks / devices)
        taken += blocks_per_device * min(block, rows) * devices
    return max(1.0, taken / sum(rounds))


def writing(config: Config, network: Network | None) -> float:
    """The seconds to write the pool, the checkpoints before additions, and those in between."""
    options = config.practice
    in_between = config.training.steps // (CHECKPOINT_EVERY * options.evaluate_every)
    one_checkpoint = cost.checkpoint_bytes(config, network) / (options.additions + 1)
    checkpoints = options.additions + 1 + in_between
    return (COPIES * cost.pool_bytes(config) + checkpoints * one_checkpoint) / DISK


def _hours(*parts: tuple[int, float | None]) -> float | None:
    """The hours of parts: how often each is done, and the seconds of doing it once.

    None if the seconds of a part that is done are not known.
    """
    total = 0.0
    for number, seconds in parts:
        if number:
            if seconds is None:
                return None
            total += number * seconds
    return total / HOUR
