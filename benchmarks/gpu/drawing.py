"""Drawing: images a second against diffusers' own pipelines; solvers; large decodings; full memory.

A trajectory costs what its steps and one decoding do. A few steps and a decoding are timed, and added up for
IMAGE_STEPS steps, of which each one is guided.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from benchmarks.gpu import models
from benchmarks.gpu.device import GIB, Bench
from benchmarks.gpu.rows import Measured
from dp_real.generators.pipelines.guide import guide, unguide
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.generators.pipelines.latents import decode
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import sample
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_noise, row_seeds

IMAGE_STEPS = 50
OMEGA = 0.05
SLOWER = 1.25  # by how much a guided image may be slower than its FLOPs say
SOLVERS: dict[str, tuple[str, Any]] = {  # of diffusers, as dp_real.guide guides them, with the pipeline that takes each
    "DDIM": ("SD-1.5", DDIMScheduler),
    "Euler": ("SD-1.5", EulerDiscreteScheduler),
    "DPM-Solver++": ("SD-1.5", DPMSolverMultistepScheduler),
    "UniPC": ("SD-1.5", UniPCMultistepScheduler),
    "flow Euler": ("SD-3", FlowMatchEulerDiscreteScheduler),
    "flow Heun": ("SD-3", FlowMatchHeunDiscreteScheduler),
}


class Way(NamedTuple):
    """How images are guided: what is differentiated through, and what decodes for the learner."""

    through: Literal["unet", "x0"]
    decoder: Literal["full", "tiny"]


class Cell(NamedTuple):
    """What is drawn: the pipeline's size and precision, and the number of images at a time."""

    size: str
    dtype: torch.dtype
    batch: int

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.size} {short(self.dtype)} batch {self.batch}"


def short(dtype: torch.dtype) -> str:
    """A short name of a floating type."""
    return {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]


def draw(bench: Bench, cell: Cell, way: Way | None) -> Iterator[Measured]:
    """Images a second of our sampler, guided in a way or plain."""
    model, _ = models.drawing(cell.size, cell.dtype, bench.device, bench.tiny)
    marks: list[float] = []
    peak = bench.peak(lambda: _trajectory(bench, cell, way, lambda: marks.append(bench.now())))
    step = _least_step(marks)
    image = (IMAGE_STEPS * step + _decode_seconds(bench, model, cell.batch)) / cell.batch
    yield Measured("images/s", 1 / image)
    if bench.gpu:
        yield Measured("memory", peak / GIB, "GiB")
        yield Measured("memory a row", peak / GIB / cell.batch, "GiB")
    flops = _flops(bench, cell, way)
    if cell.dtype in bench.matmul:
        yield Measured("share of a matmul's FLOP/s", flops * cell.batch / step / bench.matmul[cell.dtype])
    if way is None:
        bench.plain[cell.name] = image
    elif cell.name in bench.plain:
        times = image / bench.plain[cell.name]
        yield Measured("time of a plain one", times, "x")
        by_flops = times / (flops / _flops(bench, cell, None))
        yield Measured("the same, by what FLOPs say", by_flops, "x", at_most=bench.bound(SLOWER))


def draw_by_diffusers(bench: Bench, cell: Cell) -> Iterator[Measured]:
    """Plain images a second of diffusers' own pipeline."""
    image = _diffusers_seconds(bench, cell)
    yield Measured("images/s", 1 / image)
    if cell.name in bench.plain:
        yield Measured("ours plain, time of it", bench.plain[cell.name] / image, "x", at_most=bench.bound(1.05))


def draw_compiled(bench: Bench, cell: Cell) -> Iterator[Measured]:
    """Images a second where denoiser and decoder are compiled: diffusers' own, ours plain, and ours guided."""
    model, _ = models.drawing(cell.size, cell.dtype, bench.device, bench.tiny)
    vae: Any = model.pipe.vae
    begin = bench.now()
    try:
        model.network.compile()
        vae.decoder.compile()
        yield Measured("diffusers' images/s", 1 / _diffusers_seconds(bench, cell))
        yield Measured("compiling, plain", bench.now() - begin, "s")
        decoding = _decode_seconds(bench, model, cell.batch)
        for way in (None, Way("x0", "tiny"), Way("unet", "full")):
            begin = bench.now()
            step = _step_seconds(bench, cell, way)
            image = (IMAGE_STEPS * step + decoding) / cell.batch
            words = f"{way.through}, {way.decoder}" if way else "plain"
            yield Measured(f"{words}: images/s", 1 / image)
            yield Measured(f"{words}: compiled and timed in", bench.now() - begin, "s")
            if cell.name in bench.plain and way is None:
                yield Measured("eager plain, time of it", bench.plain[cell.name] / image, "x", at_least=bench.bound(1))
    finally:
        model.network._compiled_call_impl = None
        vae.decoder._compiled_call_impl = None
        torch._dynamo.reset()


def draw_channels_last(bench: Bench, cell: Cell) -> Iterator[Measured]:
    """Images a second where convolutions have their channels last and cuDNN tries its kernels."""
    model, _ = models.drawing(cell.size, cell.dtype, bench.device, bench.tiny)
    parts = (model.network, model.pipe.vae)
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        for part in parts:
            part.to(memory_format=torch.channels_last)
        decoding = _decode_seconds(bench, model, cell.batch)
        for way in (None, Way("x0", "tiny"), Way("unet", "full")):
            image = (IMAGE_STEPS * _step_seconds(bench, cell, way) + decoding) / cell.batch
            words = f"{way.through}, {way.decoder}" if way else "plain"
            yield Measured(f"{words}: images/s", 1 / image)
            if cell.name in bench.plain and way is None:
                yield Measured("usual plain, time of it", bench.plain[cell.name] / image, "x")
    finally:
        torch.backends.cudnn.benchmark = before
        for part in parts:
            part.to(memory_format=torch.contiguous_format)


def solve(bench: Bench, solver: str, dtype: torch.dtype, batch: int) -> Iterator[Measured]:
    """Time of a guided image's step by one of diffusers' solvers, through dp_real.guide, against an unguided one."""
    size, kind = SOLVERS[solver]
    model, decoder = models.drawing(size, dtype, bench.device, bench.tiny)
    pipe = model.pipe
    before = pipe.scheduler
    pipe.scheduler = kind.from_config(before.config)
    steps = 4
    try:
        plain = bench.seconds(lambda: _call(pipe, batch, steps), repeats=1)
        guide(pipe, models.judge(bench.device, bench.tiny), OMEGA, decoder=decoder)
        guided = bench.seconds(lambda: _call(pipe, batch, steps), repeats=1)
        yield Measured("guided step", guided / steps, "s")
        yield Measured("time of an unguided one", guided / plain, "x", at_most=bench.bound(2.5))
        yield Measured("finite", _finite(_call(pipe, batch, steps)), at_least=1)
    finally:
        unguide(pipe)
        pipe.scheduler = before


def decode_many(bench: Bench, dtype: torch.dtype, rows: int) -> Iterator[Measured]:
    """Decode many images at once, which have more than 2**31 values in a layer, and compare with some at a time."""
    model, _ = models.drawing("SD-1.5", dtype, bench.device, bench.tiny)
    latents = noise(rows, model.latent_shape, bench.device)
    with torch.no_grad():
        yield Measured("memory", bench.peak(lambda: decode(model.pipe.vae, latents)) / GIB, "GiB")
        at_once = decode(model.pipe.vae, latents)
        largest = 0.0
        for part, expected in zip(latents.split(4), at_once.split(4), strict=True):
            largest = max(largest, (decode(model.pipe.vae, part) - expected).abs().max().item())
    yield Measured("largest difference from 4 at a time", largest, at_most=0.1 * at_once.std().item())
    yield Measured("seconds", bench.seconds(lambda: _decode(model, latents), repeats=1), "s")


def halve(bench: Bench, dtype: torch.dtype, rows: int) -> Iterator[Measured]:
    """Draw guided images with memory for about four. The batch must be halved, and the images be the same."""
    pipe = models.drawing("SD-1.5", dtype, bench.device, bench.tiny)[0].pipe
    model = LatentDiffusion(pipe, 2, models.GUIDANCE_SCALE, batch_size=8)
    x = noise(rows, model.latent_shape, bench.device)
    prompts = [models.PROMPT] * rows
    guidance = EntropyGuidance(models.judge(bench.device, bench.tiny), OMEGA)
    single = bench.peak(lambda: model.sample(prompts[:1], x[:1], guidance))
    expected = torch.cat([model.sample(prompts[:1], row, guidance) for row in x.split(1)])
    if bench.gpu:
        bench.limit_memory(4 * single)
    try:
        found = model.sample(prompts, x, guidance, _full_beyond(4, bench))
    finally:
        if bench.gpu:
            bench.free_memory()
    fitted, _ = model.batches.found[guidance.through]
    yield Measured("rows that fitted together", fitted, at_most=4)
    difference = (found - expected).abs().mean().item()
    yield Measured("mean difference from single rows", difference, at_most=0.1 * expected.std().item())


def _full_beyond(rows: int, bench: Bench) -> Callable[[Tensor], Tensor]:
    """Without a GPU, memory runs out by name for more than so many rows."""

    def check(images: Tensor) -> Tensor:
        if not bench.gpu and len(images) > rows:
            raise torch.OutOfMemoryError("more rows than the benchmark allows")
        return images

    return check


def noise(rows: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The noise of rows, which is the same on every device."""
    return row_noise(row_seeds(0, 0, range(rows)), shape).to(device)


def _guidance(bench: Bench, way: Way | None) -> EntropyGuidance | None:
    if way is None:
        return None
    return EntropyGuidance(models.judge(bench.device, bench.tiny), OMEGA, through=way.through)


def _trajectory(bench: Bench, cell: Cell, way: Way | None, mark: Callable[[], None]) -> Tensor:
    """Draw a batch in models.STEPS steps, and call `mark` after each. Returns the latents."""
    model, tiny_decoder = models.drawing(cell.size, cell.dtype, bench.device, bench.tiny)
    decoder = tiny_decoder if way is not None and way.decoder == "tiny" else model.pipe.vae
    return sample(
        model.denoiser([models.PROMPT] * cell.batch),
        model.solver,
        noise(cell.batch, model.latent_shape, bench.device),
        guidance=_guidance(bench, way),
        decode=partial(decode, decoder),
        callback=lambda index, x0_hat: mark(),
    )


def _step_seconds(bench: Bench, cell: Cell, way: Way | None) -> float:
    """The least seconds of a step."""
    marks: list[float] = []
    _trajectory(bench, cell, way, lambda: marks.append(bench.now()))
    return _least_step(marks)


def _least_step(marks: list[float]) -> float:
    """The least seconds between two marks, of which each stands at the end of a step. The first step warms up."""
    return float(np.diff(marks).min())


def _decode_seconds(bench: Bench, model: LatentDiffusion, batch: int) -> float:
    latents = noise(batch, model.latent_shape, bench.device)
    return bench.seconds(lambda: _decode(model, latents), repeats=1)


@torch.no_grad()
def _decode(model: LatentDiffusion, latents: Tensor) -> Tensor:
    return decode(model.pipe.vae, latents)


def _diffusers_seconds(bench: Bench, cell: Cell) -> float:
    """Seconds of an image by diffusers' own loop, with the same steps and decoder."""
    model, _ = models.drawing(cell.size, cell.dtype, bench.device, bench.tiny)
    marks: list[float] = []

    def mark(pipe: Any, index: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        marks.append(bench.now())
        return tensors

    _call(model.pipe, cell.batch, models.STEPS, callback_on_step_end=mark)
    return (IMAGE_STEPS * _least_step(marks) + _decode_seconds(bench, model, cell.batch)) / cell.batch


def _call(pipe: Any, batch: int, steps: int, **options: Any) -> Tensor:
    """Call a pipeline of diffusers for latents."""
    answer = pipe(
        [models.PROMPT] * batch,
        num_inference_steps=steps,
        guidance_scale=models.GUIDANCE_SCALE,
        output_type="latent",
        **options,
    )
    return answer.images


def _finite(x: Tensor) -> float:
    """The share of finite values."""
    return x.isfinite().float().mean().item()


_counted: dict[tuple[Any, ...], float] = {}


def _flops(bench: Bench, cell: Cell, way: Way | None) -> float:
    """FLOPs of an image's step, counted once for each size and way on a single image."""
    key = (cell.size, way, bench.tiny)
    if key not in _counted:
        single = cell._replace(batch=1)
        _counted[key] = count(lambda: _trajectory(bench, single, way, lambda: None)) / models.STEPS
    return _counted[key]
