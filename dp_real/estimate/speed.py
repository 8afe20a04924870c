"""How long an image and a row of a training step take: assumed for a device, or measured on this one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from dp_real.config import Config
from dp_real.estimate.work import Network, image_operations
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.protocols import Generator, Learner
from dp_real.runtime import memory
from dp_real.runtime.seeds import row_seeds
from dp_real.runtime.shares import PARCEL


class Gpu(NamedTuple):
    """What is assumed of a GPU. rate: TFLOP/s in bfloat16 that PyTorch reaches. memory: bytes, by the data sheet."""

    rate: float
    memory: int


# By a part of their names. The A100's rate is a quarter of the data sheet, that of newer GPUs, which wait more for
# memory, 15 %. Published figures lie within PUBLISHED of that (a table in docs/reproduction.md has them). Better
# measure: `measure`, `dp real plan --measure`. The A100 of 40 GB counts as one of 80.
GPUS = {
    "H200": Gpu(150.0, 141 * 10**9),
    "H100": Gpu(150.0, 80 * 10**9),
    "A100": Gpu(80.0, 80 * 10**9),
    "L40S": Gpu(55.0, 48 * 10**9),
}
FLOAT32 = 1 / 5  # share of that rate in float32, for which those GPUs have few units
CPU_CORE = 0.05  # TFLOP/s in float32 of a recent core
PUBLISHED, OF_A_CORE, TIMED = 2.0, 3.0, 1.2  # by what factor the seconds may be wrong: of a GPU, a core, as measured
MEASURED = 16  # images that a measurement draws, or a block if that is smaller


@dataclass(frozen=True)
class Seconds:
    """Seconds of one device for an unguided image, a guided one, and a row of a training step. None: not known."""

    plain: float | None
    guided: float | None
    row: float | None
    source: str  # how they are known, in words
    spread: float = 1.0  # they may be wrong by this factor, either way


def throughput(device: str, dtype: str) -> float | None:
    """TFLOP/s that a GPU of that name is assumed to reach; None if it is not in the table."""
    known = next((gpu.rate for name, gpu in GPUS.items() if name in device), None)
    return known and known * (FLOAT32 if dtype == "float32" else 1)


def assumed(config: Config, network: Network | None, device: str, cores: int = 0) -> Seconds:
    """Seconds on a GPU of that name, or on `cores` cores of a CPU, by the table above."""
    operations = image_operations(config, network)
    drawing, training = (throughput(device, each) for each in (config.generator.precision, config.training.precision))
    if cores:
        drawing = training = cores * CPU_CORE
    if not drawing or not training:
        return Seconds(None, None, None, f"nothing is known of {device}: measure it")
    plain, guided = (each / drawing for each in operations) if operations else (None, None)
    row = network.training / training if network else None
    spread = OF_A_CORE if cores else PUBLISHED
    return Seconds(
        plain, guided, row, f"assumed of {device}: {drawing:g} TFLOP/s in drawing, {training:g} in training", spread
    )


def measure(config: Config, generator: Generator, learner: Learner, device: str) -> Seconds:
    """Seconds measured here on a few images and training steps. This trains the learner.

    The first try does not count, nor one in which memory ran out and fewer rows were taken.
    """
    rows = min(config.sampling.block_size, MEASURED)
    labels = torch.arange(rows) % generator.n_classes
    seeds = row_seeds(config.seed, 0, range(rows))
    omega = config.guidance.omega if isinstance(config.guidance.omega, float) else 0.01
    guidance = EntropyGuidance.of(config.guidance, learner.logits, omega)
    plain, x = _timed(lambda: generator.sample(labels, seeds, None))
    guided = (
        _timed(lambda: generator.sample(labels, seeds, guidance))[0]
        if omega and config.guidance.candidates == 1
        else plain
    )
    most = 4 * PARCEL if torch.cuda.is_available() else PARCEL
    batch = torch.arange(min(config.training.batch_size or rows, most)) % rows

    def step() -> float:
        learner.train_step(x[batch], labels[batch])
        return learner.drain_loss()  # waits for the device

    return Seconds(plain / rows, guided / rows, _timed(step)[0] / len(batch), f"measured on {device}", TIMED)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    work()
    while True:
        failed, begin = memory.failures(), time.perf_counter()
        result = work()
        if memory.failures() == failed:
            return time.perf_counter() - begin, result
