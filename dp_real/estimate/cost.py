"""What a run will cost: arithmetic on its configuration, before anything is there or begun.

Operations are torch's own count (runtime.flops) for the architectures at hand, without their weights: TFLOP, 1e12
multiplications and additions. Seconds are operations over a throughput that is assumed, or are measured here. Sizes are
bytes. All of it is for one device unless it says otherwise.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dp_real.config.config import Config, ConvConfig, DiffusersConfig, MLPConfig, TransformersConfig
from dp_real.data import class_names, sample_shape
from dp_real.learners.models.network import build_conv, build_mlp
from dp_real.loop.practice import patience
from dp_real.protocols import Generator, Learner
from dp_real.rounds.source import forwards_per_sample, guided_steps, make_guidance
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_seeds

# TFLOP a second in bfloat16 that PyTorch is assumed to reach on a GPU, by a part of its name: a quarter of the A100's
# data sheet (published: Stable Diffusion 1.5 at batch 1 takes 1.6 s for 50 steps, which is 52; XL, 116), and 15 % of
# the newer ones', which wait for memory more. Measuring is better: `measure`, `dp real plan --measure`.
GPUS = {"H200": 150.0, "H100": 150.0, "A100": 80.0, "L40S": 55.0}
FLOAT32 = 1 / 5  # of that, in float32, for which those GPUs have few units
CPU_CORE = 0.05  # TFLOP a second in float32, of a recent core
JPEG = 1 / 3  # bytes a pixel and channel at quality 95; photographs take .2 to .4
MEASURED = 16  # images a measurement draws, or a block if that is smaller


@dataclass(frozen=True)
class Model:
    """A text-to-image pipeline at its own size. Pairs: TFLOP forward, and back to the input."""

    parameters: float  # of all its parts
    denoise: tuple[float, float]  # an image and evaluation
    decode: tuple[float, float]  # an image
    decode_tiny: tuple[float, float]  # likewise, by an AutoencoderTiny
    kept: tuple[float, float, float]  # bytes an image kept for the way back in float32: of these three


# Counted on the architectures as published (a test repeats it for the first).
SD1 = Model(1.066e9, (0.803, 0.923), (2.515, 2.549), (0.141, 0.141), (4.34e9, 6.02e9, 0.58e9))
SD2 = Model(1.290e9, (2.149, 2.765), (5.754, 5.928), (0.318, 0.318), (12.76e9, 13.74e9, 1.30e9))
XL = Model(3.469e9, (6.761, 7.460), (10.470, 11.020), (0.565, 0.565), (21.64e9, 24.90e9, 2.31e9))
MODELS = {
    "CompVis/stable-diffusion-v1-4": SD1,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD1,
    "stabilityai/stable-diffusion-2-1": SD2,
    "stabilityai/stable-diffusion-xl-base-1.0": XL,
}


@dataclass(frozen=True)
class Network:
    """The learner: its parameters, and of a row of a training step TFLOP and bytes kept for the way back in float32."""

    parameters: int
    training: float
    kept: int


@dataclass(frozen=True)
class Seconds:
    """Of one device: an unguided image, a guided one, a row of a training step; None: not known."""

    plain: float | None
    guided: float | None
    row: float | None
    source: str  # measured or assumed


# What a run makes


def images(config: Config) -> tuple[int, int]:
    """Images that will be drawn if every addition is made: unguided, guided."""
    plan = config.practice
    if plan.examples == "real":
        return 0, 0
    added = plan.additions * plan.increment * plan.oversample
    return (plan.initial, added) if config.guidance.omega else (plan.initial + added, 0)


def waiting_steps(config: Config) -> int:
    """Optimizer steps that patience takes before every addition is made, if accuracy never rises meanwhile.

    They must fit between warm-up and cool-down; else the run ends with fewer additions.
    """
    plan = config.practice
    sizes = (plan.initial + done * plan.increment for done in range(plan.additions))
    return plan.evaluate_every * sum(patience(plan, size) for size in sizes)


def pool_bytes(config: Config) -> float:
    """The pool's examples on disk when every addition has been made."""
    bytes_a_value = {"float32": 4, "uint8": 1, "jpeg": JPEG}[config.pool.storage]
    return config.samples * prod(sample_shape(config.data)) * bytes_a_value


def checkpoint_bytes(config: Config, network: "Network | None") -> float:
    """The checkpoints: one before each addition, and the latest. Weights, AdamW's two moments, and the average."""
    copies = 3 + bool(config.training.ema_decay)
    return (config.practice.additions + 1) * 4 * copies * (network.parameters if network else 0)


# What it takes to make


def known_model(config: Config) -> Model | None:
    """The generator, if it is one that was counted: by its id, or by its UNet's configuration in a folder."""
    if not isinstance(config.generator, DiffusersConfig):
        return None
    unet = Path(config.generator.model, "unet", "config.json")
    if not unet.is_file():
        return MODELS.get(config.generator.model)
    sizes = json.loads(unet.read_text())
    kinds = {(768, 64, 2): SD1, (1024, 96, 2): SD2, (2048, 128, 2): XL}
    return kinds.get(tuple(sizes.get(key) for key in ("cross_attention_dim", "sample_size", "layers_per_block")))


def learner_network(config: Config) -> Network | None:
    """The learner, built without memory for its weights; None if it is no network, or its sizes are elsewhere."""
    section, shape, n_classes = config.learner, sample_shape(config.data), len(class_names(config.data))
    with torch.device("meta"):
        match section:
            case MLPConfig():
                module = build_mlp(section, shape, n_classes, seed=0)
            case ConvConfig():
                module = build_conv(section, shape, n_classes, seed=0)
            case TransformersConfig(model=None):
                from dp_real.learners.models.classifier import fresh_classifier

                module = fresh_classifier(section, shape, {"id2label": {label: "" for label in range(n_classes)}})
            case _:
                return None
    row = torch.empty(1, *shape, device="meta")
    training = count(lambda: module(row).sum().backward()) / 1e12
    # What two rows keep more than one: the weights, too, are kept for the way back, but once.
    kept = kept_bytes(module, row.repeat(2, *[1] * len(shape))) - kept_bytes(module, row)
    return Network(sum(weight.numel() for weight in module.parameters()), training, kept)


def kept_bytes(module: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """What autograd keeps of module(x) for the way back; what several operations share counts once."""
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held on to, so that no other takes its number
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(storage.nbytes() for storage in kept.values())


def image_operations(config: Config, network: Network | None) -> tuple[float, float] | None:
    """TFLOP of an unguided image and of a guided one: the way back from the entropy, at the steps that are guided."""
    model = known_model(config)
    if model is None or network is None or not isinstance(config.generator, DiffusersConfig):
        return None
    branches = 1 if config.sampling.guidance_scale == 1 else 2
    plain = forwards_per_sample(config) * model.denoise[0] + model.decode[0]
    # Forward through the decoder and the learner (a third of a training step), and back to x0_hat, or on to x_t.
    push = sum(model.decode_tiny if config.generator.decoder == "tiny" else model.decode) + 2 / 3 * network.training
    push += branches * model.denoise[1] if config.guidance.through == "unet" else 0
    return plain, plain + guided_steps(config) * push


def memory(config: Config, network: Network | None) -> dict[str, float] | None:
    """Peak bytes on the device: in training, in drawing one image at a time, and for each image more at a time.

    Training: 16 bytes a parameter (weights, gradients, AdamW's moments), 4 for the average, and what autograd keeps of
    the rows of a step, half of it in bfloat16. Drawing: the same state, the pipeline's weights, and what it keeps.
    """
    model, section = known_model(config), config.generator
    if network is None:
        return None
    options = config.training
    state = network.parameters * (20 if options.ema_decay else 16)
    rows = options.batch_size * network.kept / (2 if options.precision == "bfloat16" else 1)
    if model is None or not isinstance(section, DiffusersConfig):
        return {"training": state + rows}
    width = 4 if section.dtype == "float32" else 2
    weights = model.parameters * width
    branches = 1 if config.sampling.guidance_scale == 1 else 2
    denoiser, decoder, tiny = (part * width / 4 for part in model.kept)
    image = (tiny if section.decoder == "tiny" else decoder) + network.kept
    image += branches * denoiser if config.guidance.through == "unet" and not section.checkpointing else 0
    resting = 0 if section.offload else weights
    return {"training": state + rows + resting, "drawing": state + weights + image, "image": image}


# How long it takes


def throughput(device: str, dtype: str) -> float | None:
    """TFLOP a second that a GPU of that name is assumed to reach; None for one that is not in the table."""
    known = next((rate for name, rate in GPUS.items() if name in device), None)
    return known and known * (FLOAT32 if dtype == "float32" else 1)


def assumed(config: Config, network: Network | None, device: str, cores: int = 0) -> Seconds:
    """Seconds on a GPU of that name, or on so many cores of a CPU, by the table above."""
    operations, section = image_operations(config, network), config.generator
    dtype = section.dtype if isinstance(section, DiffusersConfig) else "float32"
    drawing, training = (throughput(device, each) for each in (dtype, config.training.precision))
    if cores:
        drawing = training = cores * CPU_CORE
    if not drawing or not training:
        return Seconds(None, None, None, f"nothing is known of {device}: measure it")
    plain, guided = (each / drawing for each in operations) if operations else (None, None)
    row = network.training / training if network else None
    return Seconds(plain, guided, row, f"assumed of {device}: {drawing:g} TFLOP/s in drawing, {training:g} in training")


def measure(config: Config, generator: Generator, learner: Learner, device: str) -> Seconds:
    """Seconds as they are here, of a few images and training steps; the second try counts. Changes the learner."""
    rows = min(config.sampling.block_size, MEASURED)
    labels = torch.arange(rows) % generator.n_classes
    seeds = row_seeds(config.seed, 0, range(rows))
    omega = config.guidance.omega if isinstance(config.guidance.omega, float) else 0.01
    guidance = make_guidance(config.guidance, learner.logits, omega)
    plain, x = _timed(lambda: generator.sample(labels, seeds, None))
    guided = _timed(lambda: generator.sample(labels, seeds, guidance))[0] if omega else plain
    batch = torch.arange(config.training.batch_size or rows) % rows

    def step() -> float:
        learner.train_step(x[batch], labels[batch])
        return learner.drain_loss()  # waits for the device

    return Seconds(plain / rows, guided / rows, _timed(step)[0] / len(batch), f"measured on {device}")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    work()
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def costs(
    config: Config, network: Network | None, seconds: Seconds, devices: Sequence[int], validation: int | None = None
) -> dict[str, Any]:
    """All of it in one record; `hours` has a row for each number of devices."""
    plain, guided = images(config)
    options = config.training
    return {
        "images": {"plain": plain, "guided": guided},
        "steps": options.steps,
        "constant_steps": options.steps - options.warmup_steps - options.cooldown_steps,
        "waiting_steps": waiting_steps(config),
        "bytes": {"pool": pool_bytes(config), "checkpoints": checkpoint_bytes(config, network)},
        "memory": memory(config, network),
        "seconds": asdict(seconds),
        "hours": [hours(config, seconds, number, validation) for number in devices],
    }


def hours(config: Config, seconds: Seconds, devices: int, validation: int | None = None) -> dict[str, Any]:
    """Device-hours of drawing, training and validating, and hours by the clock, on so many devices.

    Each takes training.batch_size rows a step, so that more devices train on more rows. None where it is not known, by
    the clock where drawing or training is not. validation: its images.
    """
    plain, guided = images(config)
    steps, rows = config.training.steps, config.training.batch_size
    evaluations = steps // config.practice.evaluate_every
    drawing = _hours((plain, seconds.plain), (guided, seconds.guided))
    training = _hours((steps * rows * devices, seconds.row))
    forward = seconds.row and seconds.row / 3
    validating = None if validation is None else _hours((evaluations * validation, forward))
    parts = {"drawing": drawing, "training": training, "validating": validating}
    clock = None if drawing is None or training is None else (drawing + training + (validating or 0)) / devices
    return {"devices": devices, "rows_a_step": rows * devices} | parts | {"clock": clock}


def _hours(*parts: tuple[int, float | None]) -> float | None:
    """Of so many things, each with the seconds that one takes."""
    needed = [(number, seconds) for number, seconds in parts if number]
    known = [number * seconds for number, seconds in needed if seconds is not None]
    return sum(known) / 3600 if len(known) == len(needed) else None
