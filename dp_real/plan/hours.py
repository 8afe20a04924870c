"""A run's hours, by the assumed or measured rate of a device."""

import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.plan import work
from dp_real.plan.work import Network
from dp_real.protocols import Generator, Learner
from dp_real.runtime.seeds import row_seeds

HOUR = 3600  # seconds


GPUS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0}
"""Peaks in TFLOP/s in bfloat16 by the data sheets; keys are parts of GPUs' names."""
SHARES = 0.25, 0.15
"""Assumed shares of a peak in drawing and in training; docs/results/cost.md has published figures."""
FLOAT32 = 1 / 5  # share of these rates that is reached in float32
CPU_CORE = 0.05  # TFLOP/s in float32 of a recent core
PUBLISHED = 2.5  # factor by which a GPU's assumed seconds may be wrong; it covers the published figures
OF_A_CORE = 3.0  # factor by which a core's assumed seconds may be wrong
TIMED = 1.2  # factor by which measured seconds may be wrong
MEASURED = 16  # images that a measurement draws, at most a block
MAX_ROWS = {"cuda": 256, "cpu": 64}  # of a measured training step
GUESSED_OMEGA = 0.01  # for a measurement if omega is "auto"


@dataclass(frozen=True)
class Seconds:
    """Seconds of one device for a plain image, a guided one, and a row of a step; None: unknown."""

    plain: float | None
    guided: float | None
    row: float | None
    source: str  # in words
    spread: float = 1.0  # factor by which they may be too large or too small


def assumed(config: Config, network: Network | None, device: str, cores: int = 0) -> Seconds:
    """The seconds by the rates above, on a GPU or on `cores` of a CPU."""
    if cores:
        rates = cores * CPU_CORE, cores * CPU_CORE
        source, spread = f"assumed of {device}: {CPU_CORE:g} TFLOP/s of a core", OF_A_CORE
    elif peak := next((peak for name, peak in GPUS.items() if name in device), None):
        dtypes = config.generator.precision, config.training.precision
        drawing, training = (
            share * (FLOAT32 if dtype == "float32" else 1) for share, dtype in zip(SHARES, dtypes, strict=True)
        )
        rates, spread = (peak * drawing, peak * training), PUBLISHED
        shares = f"{drawing:.0%} in drawing, {training:.0%} in training"
        source = f"assumed of {device}: of its peak of {peak:g} TFLOP/s {shares}"
    else:
        return Seconds(None, None, None, f"the rate of {device} is unknown: measure it")
    plain, guided = (
        sum(part / rate for part, rate in zip(parts, rates, strict=True)) if parts else None
        for parts in work.image_operations(config, network) or (None, None)
    )
    return Seconds(plain, guided, network.training / rates[1] if network else None, source, spread)


def measure(config: Config, generator: Generator, learner: Learner, device: str) -> Seconds:
    """Measure a few images and steps here, which trains the learner.

    The faster of two tries counts, as memory may run out in one.
    """
    rows = min(config.sampling.block_size, MEASURED)
    labels = torch.arange(rows) % generator.n_classes
    seeds = row_seeds(config.seed, 0, range(rows))
    omega = config.guidance.omega if isinstance(config.guidance.omega, float) else GUESSED_OMEGA
    guidance = EntropyGuidance.from_config(config.guidance, learner.logits, omega)
    drawn: list[Tensor] = []
    guided = plain = _timed(lambda: drawn.append(generator.sample(labels, seeds, None)))
    if omega and config.guidance.candidates == 1:
        guided = _timed(lambda: generator.sample(labels, seeds, guidance))
    max_rows = MAX_ROWS["cuda" if torch.cuda.is_available() else "cpu"]
    batch = torch.arange(min(config.training.batch_size or rows, max_rows)) % rows

    def step() -> float:
        learner.train_step(drawn[0][batch], labels[batch])
        return learner.drain_loss()  # this waits for the device

    return Seconds(plain / rows, guided / rows, _timed(step) / len(batch), f"measured on {device}", TIMED)


def _timed(work: Callable[[], object]) -> float:
    """The shortest time but the first, which includes preparations."""
    return min(timeit.repeat(work, number=1, repeat=3)[1:])


def hours(config: Config, seconds: Seconds, devices: int, validation: int | None = None) -> dict[str, Any]:
    """The hours on `devices`, which share the rows of a step; None: unknown.

    `drawing`, `training` and `validating` are device-hours; `clock` is likely between `low` and `high`.
    """
    plain, guided = work.images(config)
    rows = work.rows_per_step(config)
    rows_per_device = -(-rows // devices)
    steps = config.training.steps
    evaluations = steps // config.practice.evaluate_every
    drawing = _hours((plain, seconds.plain), (guided, seconds.guided))
    training = _hours((steps * rows, seconds.row))
    forward = seconds.row and seconds.row / 3  # the backward pass takes twice as long
    validating = None if validation is None else _hours((evaluations * validation, forward))
    clock = None
    if drawing is not None and training is not None:
        share = rows_per_device / rows if config.training.batch_size else 1.0  # a solver's pool is in each process
        clock = (drawing + (validating or 0)) / devices + training * share
    return {
        "devices": devices,
        "rows_per_step": rows,
        "rows_per_device": rows_per_device,
        "drawing": drawing,
        "training": training,
        "validating": validating,
        "clock": clock,
        "low": clock and clock / seconds.spread,
        "high": clock and clock * seconds.spread,
    }


def costs(config: Config, network: Network | None, seconds: Seconds, devices: Sequence[int]) -> dict[str, Any]:
    """All costs, with `hours` for each number of devices."""
    validation = work.validated(config)
    plain, guided = work.images(config)
    options = config.training
    return {
        "images": {"plain": plain, "guided": guided},
        "tokens": work.tokens(config),
        "steps": options.steps,
        "rows_per_step": work.rows_per_step(config),
        "constant_steps": options.steps - options.warmup_steps - options.cooldown_steps,
        "waiting_steps": work.waiting_steps(config),
        "bytes": work.disk(config, network),
        "seconds": asdict(seconds),
        "hours": [hours(config, seconds, number, validation) for number in devices],
    }


def _hours(*parts: tuple[int, float | None]) -> float | None:
    """Hours of parts (number, seconds of one); None: unknown."""
    if any(number and seconds is None for number, seconds in parts):
        return None
    return sum(number * (seconds or 0) for number, seconds in parts) / HOUR
