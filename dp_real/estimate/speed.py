"""How long an image and a row of a training step take, assumed for a device or measured on this one."""

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
from dp_real.runtime.seeds import row_seeds


class Gpu(NamedTuple):
    """What is assumed of a GPU."""

    rate: float  # TFLOP/s in bfloat16 that PyTorch reaches
    memory: int  # bytes, by the data sheet


# GPUs by a part of their names. The A100's rate is a quarter of that in its data sheet. Newer GPUs wait more for
# memory, and reach 15 %. Published figures lie within a factor of PUBLISHED of that, see docs/results/cost.md. It is
# better to measure (`measure`, dp real plan --measure). The A100 of 40 GB counts as one of 80 GB.
GPUS = {
    "H200": Gpu(150.0, 141 * 10**9),
    "H100": Gpu(150.0, 80 * 10**9),
    "A100": Gpu(80.0, 80 * 10**9),
    "L40S": Gpu(55.0, 48 * 10**9),
}
FLOAT32 = 1 / 5  # share of that rate in float32, for which those GPUs have few units
CPU_CORE = 0.05  # TFLOP/s in float32 of a recent core
PUBLISHED = 2.0  # factor by which the seconds assumed of a GPU may be wrong
OF_A_CORE = 3.0  # factor by which the seconds assumed of a core may be wrong
TIMED = 1.2  # factor by which measured seconds may be wrong
MEASURED = 16  # images that a measurement draws, or a block if that is smaller
GUESSED_OMEGA = 0.01  # for a measurement where the strength is found in training


@dataclass(frozen=True)
class Seconds:
    """The seconds of one device for a plain image, a guided one, and a row of a training step; None: not known."""

    plain: float | None
    guided: float | None
    row: float | None
    source: str  # how they are known, in words
    spread: float = 1.0  # factor by which they may be too large or too small


def throughput(device: str, dtype: str) -> float | None:
    """The TFLOP/s that a GPU of that name is assumed to reach; None if it is not in the table."""
    for name, gpu in GPUS.items():
        if name in device:
            return gpu.rate * (FLOAT32 if dtype == "float32" else 1)
    return None


def assumed(config: Config, network: Network | None, device: str, cores: int = 0) -> Seconds:
    """The seconds on a GPU of that name, or on `cores` cores of a CPU, by the table above."""
    operations = image_operations(config, network)
    if cores:
        drawing = training = cores * CPU_CORE
    else:
        drawing = throughput(device, config.generator.precision)
        training = throughput(device, config.training.precision)
    if not drawing or not training:
        return Seconds(None, None, None, f"nothing is known of {device}: measure it")
    return Seconds(
        plain=operations[0] / drawing if operations else None,
        guided=operations[1] / drawing if operations else None,
        row=network.training / training if network else None,
        source=f"assumed of {device}: {drawing:g} TFLOP/s in drawing, {training:g} in training",
        spread=OF_A_CORE if cores else PUBLISHED,
    )


def measure(config: Config, generator: Generator, learner: Learner, device: str) -> Seconds:
    """Measure the seconds here, on a few images and training steps. This trains the learner.

    The first try does not count, and of the next two the faster one does: memory may run out in one, which then takes
    fewer rows.
    """
    rows = min(config.sampling.block_size, MEASURED)
    labels = torch.arange(rows) % generator.n_classes
    seeds = row_seeds(config.seed, 0, range(rows))
    omega = config.guidance.omega if isinstance(config.guidance.omega, float) else GUESSED_OMEGA
    guidance = EntropyGuidance.of(config.guidance, learner.logits, omega)
    plain, x = _timed(lambda: generator.sample(labels, seeds, None))
    guided = plain
    if omega and config.guidance.candidates == 1:
        guided, _ = _timed(lambda: generator.sample(labels, seeds, guidance))
    most_rows = 256 if torch.cuda.is_available() else 64
    batch = torch.arange(min(config.training.batch_size or rows, most_rows)) % rows

    def step() -> float:
        learner.train_step(x[batch], labels[batch])
        return learner.drain_loss()  # waits for the device

    step_seconds, _ = _timed(step)
    return Seconds(plain / rows, guided / rows, step_seconds / len(batch), f"measured on {device}", TIMED)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that `work` takes, and its result."""
    work()
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result
