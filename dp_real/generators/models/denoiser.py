from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dp_real.data.examples import TrainingExamples
from dp_real.guidance.entropy import EntropyGuidance, sample
from dp_real.protocols import Generator, Labels, Seeds
from dp_real.runtime import distributed
from dp_real.runtime.computing import default_modes, require_samples
from dp_real.runtime.resumable import Resumable
from dp_real.runtime.seeds import Stream, row_noise, row_seeds, seeded, torch_rng

if TYPE_CHECKING:
    from dp_real.generators.trained import DenoiserSizes

REMEDY = "the examples that it learns are at fault"
TRIED_STEPS = 8  # sampler steps for the samples that test a trained model
AVERAGE_DECAY = 0.995  # of the averaged weights, per step
BATCH = 128  # rows of a training step
LABEL_DROPOUT = 0.1  # share of labels that are dropped, for the unconditional branch of CFG


class Denoiser(nn.Module):
    """A residual MLP that predicts v from x_t, t and the class. The label `n_classes` means no class."""

    def __init__(self, sample_shape: tuple[int, ...], n_classes: int, width: int, blocks: int) -> None:
        super().__init__()
        size = torch.Size(sample_shape).numel()
        self.width = width
        self.enter = nn.Linear(size, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(n_classes + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(
        self, x: Float[Tensor, "batch *sample"], t: Shaped[Tensor, "*rows"], label: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch *sample"]:
        condition = self.time(get_timestep_embedding(t.expand(len(x)), self.width)) + self.label(label)
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = h + block(h + condition)
        return self.leave(h).view_as(x)


def make_scheduler(prediction_type: str, clip_sample: bool = False) -> DDIMScheduler:
    """A cosine noise schedule; `clip_sample` clips x0_hat to [-1, 1] in sampling."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        clip_sample=clip_sample,
    )


@dataclass(eq=False)
class DenoiserGenerator:
    """The denoiser under DDIM, with classifier-free guidance above a guidance_scale of 1."""

    denoiser: Denoiser
    sample_shape: tuple[int, ...]
    n_classes: int
    steps: int
    guidance_scale: float

    def __post_init__(self) -> None:
        self.denoiser.eval().requires_grad_(False).to(distributed.device())
        self.is_image = len(self.sample_shape) == 3
        self.scheduler = make_scheduler("v_prediction", clip_sample=self.is_image)
        self.scheduler.set_timesteps(self.steps)

    @default_modes()
    def sample(
        self,
        labels: Labels,
        seeds: Seeds,
        guidance: EntropyGuidance | None,
        callback: Callable[[int, Tensor], None] | None = None,
    ) -> Float32[Tensor, "batch *sample"]:
        labels = labels.to(distributed.device())

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            conditional = self.denoiser(x, t, labels)
            if self.guidance_scale <= 1:
                return conditional
            unconditional = self.denoiser(x, t, torch.full_like(labels, self.n_classes))
            return unconditional + self.guidance_scale * (conditional - unconditional)

        x = row_noise(seeds, self.sample_shape).to(labels.device)
        drawn = sample(denoise, self.scheduler, x, guidance=guidance, callback=callback).cpu()
        return drawn.clamp(-1, 1) if self.is_image else drawn


def train_denoiser(
    sizes: "DenoiserSizes",
    images: TrainingExamples,
    n_classes: int,
    seed: int,
    unfinished: Path | None,
) -> Denoiser:
    """Train by v-prediction, with a cosine decay of AdamW's rate to 0 and averaged weights."""
    torch_generator = torch_rng(seed, Stream.GENERATOR)  # on the CPU, so that draws are the same for any device
    device = distributed.device()
    sample_shape = tuple(images.x.shape[1:])
    with seeded(torch_generator):
        model = Denoiser(sample_shape, n_classes, sizes.width, sizes.blocks).to(device)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.train_learning_rate, fused=True)
    lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sizes.train_steps)
    scheduler = make_scheduler("v_prediction")
    loop = Resumable(
        "the generator",
        REMEDY,
        {"trained": model, "average": ema},
        optimizer,
        lr_scheduler,
        torch_generator,
        unfinished,
    )
    for _ in loop.steps(sizes.train_steps):
        rows = torch.randint(len(images.x), (BATCH,), generator=torch_generator)
        label = images.y[rows]
        label = label.where(torch.rand(len(rows), generator=torch_generator) >= LABEL_DROPOUT, torch.tensor(n_classes))
        x_t, t, v = noised(images.x[rows].to(device), scheduler, torch_generator)
        loop.backward(F.mse_loss(model(x_t, t, label.to(device)), v))
        loop.update()
        ema.update_parameters(model)
    model.load_state_dict(ema.module.state_dict())
    try_out(DenoiserGenerator(model, sample_shape, n_classes, TRIED_STEPS, guidance_scale=1.0), 16, seed, REMEDY)
    return model


def noised(x0: Tensor, scheduler: Any, torch_generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, t and v at a random time for each row."""
    noise = torch.randn(x0.shape, generator=torch_generator).to(x0.device)
    t = torch.randint(scheduler.config["num_train_timesteps"], (len(x0),), generator=torch_generator).to(x0.device)
    return scheduler.add_noise(x0, noise, t), t, scheduler.get_velocity(x0, noise, t)


def try_out(generator: Generator, max_samples: int, seed: int, remedy: str) -> None:
    """Draw at most `max_samples` samples just after training. DivergedError if they are useless."""
    labels = torch.arange(min(generator.n_classes, max_samples))
    samples = generator.sample(labels, row_seeds(seed, 0, range(len(labels))), None)
    require_samples(samples, "the trained generator", remedy)
