"""What a run draws, trains on, computes and stores, counted from its configuration, and its hours by a device's rate.

Operations are in TFLOP, sizes in bytes.
"""

import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.data.sets.imagenet import imagenet_of
from dp_real.generators import ImageCost
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.learners import PretrainedConfig
from dp_real.protocols import Generator, Learner
from dp_real.runtime.computing import count
from dp_real.runtime.hub import headers_only
from dp_real.runtime.model_folders import local_folder
from dp_real.runtime.seeds import row_seeds

JPEG = 0.47  # bytes per number: 71,000 for a colour photograph of 224 x 224 pixels
IMAGENET = 50  # validation images per class
HOUR = 3600  # seconds


GPUS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0}
"""Peaks in TFLOP/s in bfloat16 by the data sheets; keys are parts of GPUs' names."""
SHARES = 0.25, 0.15
"""Assumed shares of a peak in drawing and in training; docs/results/cost.md has published figures."""
FLOAT32 = 1 / 5  # share of these rates that is reached in float32
CPU_CORE = 0.05  # TFLOP/s in float32 of a recent core
GPU_SPREAD = 2.5  # factor by which a GPU's assumed seconds may be wrong; it covers the published figures
CPU_SPREAD = 3.0  # factor by which a core's assumed seconds may be wrong
TIMED = 1.2  # factor by which measured seconds may be wrong
MEASURED = 16  # images that a measurement draws, at most a block
MAX_ROWS = {"cuda": 256, "cpu": 64}  # of a measured training step
GUESSED_OMEGA = 0.01  # for a measurement if omega is "auto"


# what is done


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
    options, end = config.practice, rows(config)
    sizes = range(end - options.additions * options.increment, end, options.increment)
    return options.evaluate_every * sum(map(options.t_max, sizes))


def rows_per_step(config: Config) -> int:
    """Rows over all devices; a solver uses the whole pool."""
    return config.training.batch_size or rows(config)


def validation_size(config: Config) -> float:
    """The size of the validation set; ImageNet's is known without it. nan: unknown."""
    images = next((each.images for each in config.data.describe() if each.what == "validation"), None)
    classes = config.task.classes
    if images is None:
        return IMAGENET * len(classes) if imagenet_of(classes) else nan
    return images


class Network(NamedTuple):
    """The size of a learner that is a network."""

    parameters: int
    training: float  # TFLOP per row of a training step


UNKNOWN = Network(0, nan)


def learner_network(config: Config) -> Network:
    """Count without memory for weights. UNKNOWN if they are missing, or the module depends on its input's values."""
    with torch.device("meta"), headers_only():
        module, row = _module(config), torch.empty(1, *config.task.sample_shape)
    if module is None:
        return UNKNOWN
    try:
        # BatchNorm trains on no single row.
        training = count(lambda: module.eval()(row).sum().backward()) / 1e12
    except Exception:  # any module may raise any error
        return UNKNOWN
    return Network(sum(weight.numel() for weight in module.parameters()), training)


def _module(config: Config) -> nn.Module | None:
    learner = config.learner
    if not isinstance(learner, PretrainedConfig):
        return learner.network(config.task)
    if learner.model is None:
        return learner.fresh_model(config.task)
    folder = local_folder(learner.model)
    try:
        return learner.pretrained_model(str(folder), config.task) if folder else None
    except (OSError, ValueError, MissingError):  # `needs` reports it
        return None


def disk(config: Config, network: Network) -> dict[str, float]:
    """Bytes of the final pool, of blocks of the largest round besides it, and of checkpoints.

    If a round is kept whole, its blocks become the pool's files.
    """
    options, pool = config.practice, config.pool
    values = prod(config.pool_shape) * {"jpeg": JPEG, "float32": 4}.get(pool.storage, 1)
    added = options.increment * options.oversample if options.additions else 0
    largest = max(options.initial * options.initial_oversample, added) if options.needs_generator else 0
    real = options.real or config.data.real_per_class
    copied = pool.marks or pool.distinct or real or max(options.initial_oversample, options.oversample) > 1
    return {
        "pool": rows(config) * values,
        "drawing": largest * values if copied else 0,
        "checkpoints": (options.additions + 1) * 4 * network.parameters * (4 if config.training.ema_decay else 3),
    }


# how long it takes


@dataclass(frozen=True)
class Seconds:
    """Seconds of one device for a plain image, a guided one, and a row of a step; nan: unknown."""

    plain: float
    guided: float
    row: float
    source: str  # in words
    spread: float = 1.0  # factor by which they may be too large or too small


def assumed(config: Config, network: Network, device: str, cores: int = 0) -> Seconds:
    """The seconds by the rates above, on a GPU or on `cores` of a CPU."""
    peak = next((peak for name, peak in GPUS.items() if name in device), nan)
    dtypes = config.generator.precision, config.training.precision
    drawing, training = (
        cores * CPU_CORE or peak * share * (FLOAT32 if dtype == "float32" else 1)
        for share, dtype in zip(SHARES, dtypes, strict=True)
    )
    rate = f"of its peak of {peak:g} TFLOP/s {drawing / peak:.0%} in drawing, {training / peak:.0%} in training"
    source = f"assumed of {device}: {f'{CPU_CORE:g} TFLOP/s of a core' if cores else rate}"
    if isnan(drawing):
        source = f"the rate of {device} is unknown: measure it"
    image = config.generator.image_cost(config.sampling, config.guidance) or ImageCost(nan, nan)
    # A guidance step goes through the learner and back to the image, not to the weights: two thirds of a training step.
    judged = len(config.guided_steps) * 2 / 3 * network.training / training
    return Seconds(
        image.plain / drawing,
        image.guided / drawing + judged,
        network.training / training,
        source,
        CPU_SPREAD if cores else GPU_SPREAD,
    )


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


def hours(config: Config, seconds: Seconds, devices: int, validation: float = nan) -> dict[str, Any]:
    """The hours on `devices`, which share the rows of a step, with `validation` examples; nan: unknown.

    `drawing`, `training` and `validating` are device-hours; `clock` is likely between `low` and `high`.
    """
    plain, guided = images(config)
    options, per_step = config.training, rows_per_step(config)
    evaluated = options.steps // config.practice.evaluate_every * validation
    drawing = _hours((plain, seconds.plain), (guided, seconds.guided))
    training = _hours((options.steps * per_step, seconds.row))
    validating = _hours((evaluated, seconds.row / 3))  # the backward pass takes twice as long as the forward one
    share = -(-per_step // devices) / per_step if options.batch_size else 1.0  # a solver's pool is in each process
    clock = (drawing + (0 if isnan(validating) else validating)) / devices + training * share
    return {
        "devices": devices,
        "drawing": drawing,
        "training": training,
        "validating": validating,
        "clock": clock,
        "low": clock / seconds.spread,
        "high": clock * seconds.spread,
    }


def _hours(*parts: tuple[float, float]) -> float:
    """Hours of parts (number, seconds of one), of which some may be none."""
    return sum(number * each for number, each in parts if number) / HOUR


def costs(config: Config, network: Network, seconds: Seconds, devices: Sequence[int]) -> dict[str, Any]:
    """All costs, with `hours` for each number of devices."""
    validation = validation_size(config)
    plain, guided = images(config)
    options = config.training
    return {
        "images": {"plain": plain, "guided": guided},
        "tokens": tokens(config),
        "steps": options.steps,
        "rows_per_step": rows_per_step(config),
        "constant_steps": options.steps - options.warmup_steps - options.cooldown_steps,
        "waiting_steps": waiting_steps(config),
        "bytes": disk(config, network),
        "seconds": asdict(seconds),
        "hours": [hours(config, seconds, number, validation) for number in devices],
    }
