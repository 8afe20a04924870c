"""The sampler: noise in, sample out, with entropy guidance inside. DDIM (paper eq. 4), and Euler's steps for a flow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoiser(x_t, t) answers in its solver's terms (noise, velocity, …), classifier-free guidance included."""


class Solver(Protocol):
    """A noise schedule, x_t = a x0 + sigma noise, and the steps that lead down it."""

    @property
    def timesteps(self) -> Tensor:
        """What the denoiser is told at each step, [steps]."""
        ...

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The next x and the estimate x0_hat, from what the denoiser answered at step `index`."""
        ...

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """What the denoiser would answer if its score, -noise/sigma, were higher: paper eq. 7 with its sign mended.

        Unchanged where nothing of the sample is left in x_t (a = 0).
        """
        ...

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """x_t and t at a level in (0, 1), and the answer that would undo that noise."""
        ...


@dataclass(frozen=True)
class DDIM:
    """Diffusion: the denoiser answers what scheduler.config.prediction_type names."""

    scheduler: Any  # a DDIMScheduler that knows its timesteps

    @property
    def timesteps(self) -> Tensor:
        return self.scheduler.timesteps

    @property
    def _kind(self) -> str:
        return self.scheduler.config["prediction_type"]

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scheduler.step(output, int(self.timesteps[index]), x, return_dict=False)

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        alpha_bar = self.scheduler.alphas_cumprod[self.timesteps[index]].item()
        a, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        if a == 0:
            return output
        return output + {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}[self._kind] * by

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        t = torch.tensor(round(level * (self.scheduler.config["num_train_timesteps"] - 1)), device=x0.device)
        answers = {"epsilon": noise, "v_prediction": self.scheduler.get_velocity(x0, noise, t), "sample": x0}
        return self.scheduler.add_noise(x0, noise, t), t, answers[self._kind]


@dataclass(frozen=True)
class FlowEuler:
    """Flow matching (a = 1 - sigma): the denoiser answers noise - x0, and x0_hat = x_t - sigma times that."""

    scheduler: Any  # a FlowMatchEulerDiscreteScheduler that knows its timesteps

    @property
    def timesteps(self) -> Tensor:
        return self.scheduler.timesteps

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        sigma, after = self.scheduler.sigmas[index : index + 2].tolist()
        return x + (after - sigma) * output, x - sigma * output

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        sigma = self.scheduler.sigmas[index].item()
        return output if sigma == 1 else output - sigma / (1 - sigma) * by

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        t = torch.tensor(level * self.scheduler.config["num_train_timesteps"], device=x0.device)
        return (1 - level) * x0 + level * noise, t, noise - x0


def identity(x: Tensor) -> Tensor:
    """For models that denoise in the learner's own space."""
    return x


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    solver: Solver,
    x: Tensor,
    *,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Go the solver's steps from standard normal noise x [B, ...] to a sample of the same shape.

    decode maps x0_hat to the space that guidance.logits reads (the VAE's decoder for a latent model).
    callback(index, x0_hat) sees the estimate of each step (paper Fig. 8).
    """
    timesteps = solver.timesteps.to(x.device)
    for index, t in enumerate(timesteps):
        if guidance is None or not guidance.guides(index, len(timesteps)):
            x, x0_hat = solver.step(denoiser(x, t), index, x)
        else:
            x, x0_hat = _guided_step(denoiser, solver, x, t, index, guidance, decode)
        if callback:
            callback(index, x0_hat)
    return x


def _guided_step(
    denoiser: Denoiser,
    solver: Solver,
    x: Tensor,
    t: Tensor,
    index: int,
    guidance: EntropyGuidance,
    decode: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The next x and the estimate x0_hat of one step that raises the entropy of x0_hat."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(guidance.through == "unet")
        with torch.set_grad_enabled(guidance.through == "unet"):
            output = denoiser(leaf, t)
            _, x0_hat = solver.step(output, index, leaf)
        at = leaf if guidance.through == "unet" else x0_hat.requires_grad_()
        gradient = guidance.gradient(decode(x0_hat) if guidance.looks else x0_hat, at)
    output = output.detach()
    if guidance.scale == "relative" and guidance.apply == "before":
        x = guidance.push(x, gradient)
    if guidance.scale == "raw":
        output = solver.raise_score(output, guidance.weigh(gradient), index)
    x, x0_hat = solver.step(output, index, x)
    if guidance.scale == "relative" and guidance.apply == "after":
        x = guidance.push(x, gradient)
    return x, x0_hat


@torch.no_grad()
def denoising_error(denoiser: Denoiser, solver: Solver, x0: Tensor, noise: Tensor, level: float) -> Tensor:
    """Mean squared error [B] of what the denoiser answers on x0 with this noise at a level in (0, 1)."""
    x, t, answer = solver.noised(x0, noise, level)
    return (denoiser(x, t) - answer).square().flatten(1).mean(1)
