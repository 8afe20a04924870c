"""How long a run takes on several devices, and what it waits for.

A training step waits for its rows on each device and then for the sum of the gradients, which begins when the last one
is there; or for its rows to be read, if that takes longer. Rounds are drawn in whole blocks. What is not known of a
machine is assumed below: rates of good hardware, published (docs/reproduction.md) or measured on one core.
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

MACHINE = 8  # devices of a machine
WITHIN, BETWEEN = 200e9, 30e9  # bytes/s of a sum over the devices of a machine, and over several (NCCL's bus bandwidth)
READERS = 8  # threads that decode for a device, each on a core (dp_real.pool.loader)
DECODED = 5.1e-9  # seconds of a core for each number of a JPEG: 1,300 images of 224 x 224 a second
DISK = 1e9  # bytes/s, written by all processes together
COPIES = 3  # times that a sample's bytes go through the disk: into its block, into the pool, and for its checksum


def hours(
    config: Config, network: Network | None, seconds: Seconds, devices: int, validation: int | None = None
) -> dict[str, Any]:
    """What a run takes on `devices` devices, which share the rows of a step. validation: its images, if known.

    drawing, training, validating: device-hours. The rest is hours by the clock: gradients and reading, as far as
    training waits for them; writing, of samples and checkpoints; clock, all together, likely between low and high.
    binds: what takes the largest part. A part is None if it is not known; the clock is None if drawing or training is.
    """
    plain, guided = cost.images(config)
    steps, rows = config.training.steps, cost.rows_per_step(config)
    evaluations, forward = steps // config.practice.evaluate_every, seconds.row and seconds.row / 3
    parts = {
        "drawing": _hours((plain, seconds.plain), (guided, seconds.guided)),
        "training": _hours((steps * rows, seconds.row)),
        "validating": None if validation is None else _hours((evaluations * validation, forward)),
    }
    each = -(-rows // devices)
    shared = {"devices": devices, "rows_per_step": rows, "rows_per_device": each} | parts
    if parts["drawing"] is None or parts["training"] is None:
        unknown = dict.fromkeys(("gradients", "reading", "writing", "clock", "low", "high", "binds"))
        return shared | unknown
    own = each if config.training.batch_size else rows  # the whole pool: in each process
    step = steps * own * (seconds.row or 0) / 3600
    gradients = steps * summing(network, devices) / 3600
    reading = steps * own * decoding(config) / READERS / 3600
    waits = {
        "drawing": parts["drawing"] * idle(config, devices) / devices,
        "training": step,
        "validating": (parts["validating"] or 0) / devices,
        "gradients": gradients,
        "reading": max(0.0, reading - step - gradients),
        "writing": writing(config, network) / 3600,
    }
    clock = sum(waits.values())
    named = {name: waits[name] for name in ("gradients", "reading", "writing")}
    span = {"clock": clock, "low": clock / seconds.spread, "high": clock * seconds.spread}
    return shared | named | span | {"binds": max(waits, key=lambda name: waits[name])}


def costs(
    config: Config, network: Network | None, seconds: Seconds, devices: Sequence[int], validation: int | None = None
) -> dict[str, Any]:
    """All costs in one record. `hours` has a row for each number of `devices`; validation: see there."""
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
        "hours": [hours(config, network, seconds, number, validation) for number in devices],
    }


def summing(network: Network | None, devices: int) -> float:
    """Seconds of the sum of the gradients in a step: each device sends almost twice their float32 bytes."""
    if network is None or devices == 1:
        return 0.0
    return 2 * (devices - 1) / devices * 4 * network.parameters / (WITHIN if devices <= MACHINE else BETWEEN)


def decoding(config: Config) -> float:
    """Seconds of a core to decode an example of the pool; 0 if it is stored as numbers."""
    shape = config.pool_shape
    return DECODED * shape[0] * shape[1] * shape[2] if config.pool.storage == "jpeg" else 0.0


def idle(config: Config, devices: int) -> float:
    """By what factor drawing takes longer because rounds are shared in whole blocks, on average over all samples."""
    options, block = config.practice, config.sampling.block_size
    rounds = [options.initial, *[options.increment * options.oversample] * options.additions]
    taken = sum(ceil(ceil(rows / block) / devices) * min(block, rows) * devices for rows in rounds)
    return max(1.0, taken / sum(rounds))


def writing(config: Config, network: Network | None) -> float:
    """Seconds to write the pool, the checkpoints before additions, and those in between."""
    options = config.practice
    often = options.checkpoint_every * options.evaluate_every
    between = config.training.steps // often if often else 0
    one = cost.checkpoint_bytes(config, network) / (options.additions + 1)
    return (COPIES * cost.pool_bytes(config) + (options.additions + 1 + between) * one) / DISK


def _hours(*parts: tuple[int, float | None]) -> float | None:
    """Hours of all parts, each a number of things and the seconds of one. None if a needed one is not known."""
    needed = [(number, seconds) for number, seconds in parts if number]
    known = [number * seconds for number, seconds in needed if seconds is not None]
    return sum(known) / 3600 if len(known) == len(needed) else None
