"""Agreement: images of the GPU and of the CPU, and the gradients of a batch and of its rows.

Limits leave room for TF32, which rounds to a relative 5e-4, and are far below what guidance changes.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmarks.gpu import models
from benchmarks.gpu.device import Bench
from benchmarks.gpu.drawing import noise
from benchmarks.gpu.rows import Measured
from dp_real.examples import Task
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.generators.pipelines.latents import decode
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.learners.models.network import NetworkLearner
from dp_real.sections import TrainingConfig

ROWS = 4
STEPS = 4
OMEGA = 0.02
IMAGES = 2e-2  # of images in [-1, 1], as the tests of this project that need a GPU allow
RELATIVE = 2e-2  # of a gradient's length
EFFECT = 10  # guidance must change images by so many times the difference


def images(bench: Bench, size: str, through: Literal["unet", "x0"]) -> Iterator[Measured]:
    """Images of a tiny pipeline in float32, plain and guided, against the CPU's."""
    pipe = models.pipeline(size, tiny=True)
    there = copy.deepcopy(pipe).to(bench.device)
    cpu = torch.device("cpu")
    own = EntropyGuidance(models.judge(bench.device, True), OMEGA, through=through)
    reference = EntropyGuidance(copy.deepcopy(models.judge(bench.device, True)).to(cpu), OMEGA, through=through)
    plain = _draw(pipe, None)
    guided = _draw(pipe, reference)
    yield Measured("plain, largest difference", _largest(_draw(there, None), plain), at_most=IMAGES)
    difference = _largest(_draw(there, own), guided)
    yield Measured("guided, largest difference", difference, at_most=IMAGES)
    effect = _largest(guided, plain)
    yield Measured("what guidance changes", effect, at_least=EFFECT * difference)


def guidance_gradients(bench: Bench, size: str, through: Literal["unet", "x0"]) -> Iterator[Measured]:
    """The gradient of a batch's entropies, row by row, against each row's alone."""
    pipe = models.pipeline(size, tiny=True).to(bench.device)
    model = LatentDiffusion(pipe, STEPS, models.GUIDANCE_SCALE)
    x = noise(ROWS, model.latent_shape, bench.device)
    guidance = EntropyGuidance(models.judge(bench.device, True), OMEGA, through=through)
    together = _gradient(model, guidance, x)
    alone = torch.cat([_gradient(model, guidance, row) for row in x.split(1)])
    yield Measured("largest relative difference", _relative(together, alone), at_most=RELATIVE)


def training_gradients(bench: Bench) -> Iterator[Measured]:
    """The gradient of a learner's step on a batch, against that of its rows computed one by one."""
    task = Task((3, models.TINY_SIDE, models.TINY_SIDE), tuple("abcdefghij"))
    rows = 8
    x = torch.rand(rows, *task.sample_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    gradients = []
    for together in (rows, 1):
        torch.manual_seed(0)
        training = TrainingConfig(steps=10, warmup=0, batch_size=rows)
        module = copy.deepcopy(models.judge(torch.device("cpu"), True)).requires_grad_(True)
        learner = NetworkLearner(module, task, training, 0, bench.device)
        learner.gradient.most = together
        learner.train_step(x, torch.arange(rows) % 10)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.parameters if p.grad is not None]))
    batch, singles = gradients
    yield Measured("relative difference", ((batch - singles).norm() / singles.norm()).item(), at_most=RELATIVE)


def _draw(pipe: object, guidance: EntropyGuidance | None) -> Tensor:
    model = LatentDiffusion(pipe, STEPS, models.GUIDANCE_SCALE)
    x = noise(ROWS, model.latent_shape, model.device)
    return model.sample([models.PROMPT] * ROWS, x, guidance).cpu()


def _gradient(model: LatentDiffusion, guidance: EntropyGuidance, x: Tensor) -> Tensor:
    """The gradient of the first step of a trajectory."""
    decoding = partial(decode, model.guidance_decoder)
    denoiser = model.denoiser([models.PROMPT] * len(x))
    through_denoiser = guidance.through == "unet"
    leaf = x.detach().requires_grad_(through_denoiser)
    with torch.set_grad_enabled(through_denoiser):
        _, x0_hat = model.solver.step(denoiser(leaf, model.solver.timesteps[0].to(x.device)), 0, leaf)
    at = leaf if through_denoiser else x0_hat.requires_grad_()
    return guidance.gradient(decoding(x0_hat), at)


def _largest(found: Tensor, expected: Tensor) -> float:
    return (found - expected).abs().max().item()


def _relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference of a row, relative to the row's length."""
    difference = (found - expected).flatten(1).norm(dim=1)
    return (difference / expected.flatten(1).norm(dim=1)).max().item()
