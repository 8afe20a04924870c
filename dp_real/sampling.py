"""The sampler: DDIM (paper eq. 4) with entropy guidance inside. Noise in, sample out."""

from collections.abc import Callable

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from dp_real.guidance import EntropyGuidance


def identity(x: Tensor) -> Tensor:
    """For models that denoise in the learner's own space."""
    return x


@torch.no_grad()
def sample_ddim(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    scheduler: DDIMScheduler,
    x: Tensor,
    *,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Run the scheduler's timesteps from noise x [B, ...] to a sample of the same shape.

    denoiser(x_t, t) returns what scheduler.config.prediction_type names, classifier-free guidance included.
    decode maps x0_hat to the space that guidance.logits reads (the VAE's decoder for a latent model).
    callback(index, x0_hat) sees the estimate of each step (paper Fig. 8).
    """
    steps = len(scheduler.timesteps)
    for index, t in enumerate(scheduler.timesteps):
        if guidance is None or not guidance.guides(index, steps):
            x, x0_hat = scheduler.step(denoiser(x, t), int(t), x, return_dict=False)
        else:
            x, x0_hat = _guided_step(denoiser, scheduler, x, t, guidance, decode)
        if callback:
            callback(index, x0_hat)
    return x


def _guided_step(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    scheduler: DDIMScheduler,
    x: Tensor,
    t: Tensor,
    guidance: EntropyGuidance,
    decode: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The next x and the estimate x0_hat of one step that raises the entropy of x0_hat."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(guidance.through == "unet")
        with torch.set_grad_enabled(guidance.through == "unet"):
            output = denoiser(leaf, t)
            _, x0_hat = scheduler.step(output, int(t), leaf, return_dict=False)
        at = leaf if guidance.through == "unet" else x0_hat.requires_grad_()
        gradient = guidance.gradient(decode(x0_hat), at)
    output = output.detach()
    if guidance.scale == "relative" and guidance.apply == "before":
        x = guidance.push(x, gradient)
    if guidance.scale == "raw":
        alpha_bar = scheduler.alphas_cumprod[t].to(x)
        output = guidance.shift_noise(output, gradient, alpha_bar, scheduler.config["prediction_type"])
    x, x0_hat = scheduler.step(output, int(t), x, return_dict=False)
    if guidance.scale == "relative" and guidance.apply == "after":
        x = guidance.push(x, gradient)
    return x, x0_hat
