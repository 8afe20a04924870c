"""Generators draw a sample of a class, guided or not. The small one here is trained on first use, then cached."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import platformdirs
import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dp_real.config import Config, GeneratorConfig
from dp_real.data import RealData
from dp_real.guidance import EntropyGuidance
from dp_real.sampling import sample_ddim
from dp_real.seeds import Stream, row_noise, torch_rng

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""progress(description, total) gives a context in which advance(steps) is called."""

RECIPE = 1  # raise it when what training does changes: cached generators of the old recipe are then left alone


class Generator(Protocol):
    """Draws samples of given classes."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, in the learner's space."""
        ...

    @property
    def n_classes(self) -> int:
        """Labels are 0 .. n_classes - 1."""
        ...

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """[B, *sample_shape] for labels int64 [B]; row i is a function of labels[i], seeds[i] and the guidance."""
        ...


class Denoiser(nn.Module):
    """A residual MLP that predicts v from x_t, t and the class; class index `n_classes` means no class."""

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

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        condition = self.time(get_timestep_embedding(t.expand(len(x)), self.width)) + self.label(label)
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = h + block(h + condition)
        return self.leave(h).view_as(x)


def make_scheduler() -> DDIMScheduler:
    """The cosine schedule that the small denoiser is trained under; x0_hat is clipped to the image range."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
    )


class DiffusionGenerator:
    """A class-conditional denoiser under DDIM, with classifier-free guidance."""

    def __init__(
        self,
        denoiser: Denoiser,
        sample_shape: tuple[int, ...],
        n_classes: int,
        steps: int,
        guidance_scale: float,
    ) -> None:
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.sample_shape = sample_shape
        self.n_classes = n_classes
        self.guidance_scale = guidance_scale
        self.scheduler = make_scheduler()
        self.scheduler.set_timesteps(steps)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            conditional = self.denoiser(x, t, labels)
            if self.guidance_scale == 1:
                return conditional
            unconditional = self.denoiser(x, t, torch.full_like(labels, self.n_classes))
            return unconditional + self.guidance_scale * (conditional - unconditional)

        x = row_noise(seeds, self.sample_shape)
        return sample_ddim(denoise, self.scheduler, x, guidance=guidance).clamp(-1, 1)


def train_denoiser(config: GeneratorConfig, data: RealData, split: int, advance: Callable[[int], None]) -> Denoiser:
    """v-prediction under the cosine schedule, AdamW with the rate going to 0, weights averaged; seeded by the split."""
    draw = torch_rng(split, Stream.GENERATOR)
    images, n_classes = data.generator, len(data.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.initial_seed())
        model = Denoiser(tuple(images.x.shape[1:]), n_classes, config.width, config.blocks)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.train_learning_rate, fused=True)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.train_steps)
    scheduler = make_scheduler()
    for _ in range(config.train_steps):
        rows = torch.randint(len(images.x), (config.train_batch,), generator=draw)
        x0, label = images.x[rows], images.y[rows]
        label = label.where(torch.rand(len(rows), generator=draw) >= config.label_dropout, torch.tensor(n_classes))
        noise = torch.randn(x0.shape, generator=draw)
        t: Any = torch.randint(scheduler.config["num_train_timesteps"], (len(rows),), generator=draw)
        v = scheduler.get_velocity(x0, noise, t)
        loss = F.mse_loss(model(scheduler.add_noise(x0, noise, t), t, label), v)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        anneal.step()
        ema.update_parameters(model)
        advance(1)
    model.load_state_dict(ema.module.state_dict())
    return model


def cache_folder() -> Path:
    """Where trained generators are kept: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("deliberate-practice")) / "generators"


def load_generator(config: Config, data: RealData, progress: Progress) -> DiffusionGenerator:
    """The generator of this configuration: from the cache, else trained now and cached whole."""
    depends = {
        "recipe": RECIPE,
        "generator": config.generator.model_dump(mode="json"),
        "data": config.data.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{config.data.source}-{digest}"
    shape, n_classes = tuple(data.generator.x.shape[1:]), len(data.classes)
    if not folder.exists():
        with progress("training the generator", config.generator.train_steps) as advance:
            denoiser = train_denoiser(config.generator, data, config.data.split, advance)
        _store(denoiser, depends, folder)
    denoiser = Denoiser(shape, n_classes, config.generator.width, config.generator.blocks)
    denoiser.load_state_dict(load_file(folder / "model.safetensors"))
    return DiffusionGenerator(denoiser, shape, n_classes, config.sampling.steps, config.sampling.guidance_scale)


def _store(denoiser: Denoiser, depends: dict, folder: Path) -> None:
    """Write aside, then rename: two runs may train the same generator at once, and the first to finish is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        staged = Path(temporary) / "whole"
        staged.mkdir()
        save_file(denoiser.state_dict(), staged / "model.safetensors")
        (staged / "config.json").write_text(json.dumps(depends, indent=2))
        with contextlib.suppress(OSError):
            os.rename(staged, folder)
