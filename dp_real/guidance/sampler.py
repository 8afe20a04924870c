"""The sampler: noise in, sample out, with entropy guidance inside (paper section 2)."""

from collections.abc import Callable

import torch
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.solvers import Solver

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoiser(x_t, t) returns what its solver expects (noise, velocity, …), classifier-free guidance included."""


def identity(x: Tensor) -> Tensor:
    """Return x: the decoder of models that denoise in the learner's own space."""
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
    """Turn standard normal noise x [B, ...] into samples of the same shape, by the solver's steps.

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
    """One guided step: returns the next x and the estimate x0_hat."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(guidance.through == "unet")
        with torch.set_grad_enabled(guidance.through == "unet"):
            output = denoiser(leaf, t)
            _, x0_hat = solver.step(output, index, leaf)
        at = leaf if guidance.through == "unet" else x0_hat.requires_grad_()
        gradient = guidance.gradient(decode(x0_hat) if guidance.looks else x0_hat, at)
    output = output.detach()
    if guidance.scale == "raw":
        output = solver.raise_score(output, guidance.weigh(gradient), index)
    x, x0_hat = solver.step(output, index, x)
    if guidance.scale == "relative":
        x = guidance.push(x, gradient)
    return x, x0_hat
