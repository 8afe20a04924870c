"""The sampler: noise in, sample out, with entropy guidance inside (paper section 2)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
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
    x: Float[Tensor, "batch *latent"],
    *,
    first: int = 0,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Float[Tensor, "batch *latent"]:
    """Turn standard normal noise, or noised samples, into samples, by the solver's steps.

    `x` is the noise, or what `solver.noised` returned for the step with index `first`, the one to begin with. `decode`
    maps x0_hat to what guidance.logits reads: the VAE's decoder for a latent model. `callback` is called with each
    step's index and its x0_hat (paper Fig. 8).
    """
    timesteps = solver.timesteps.to(x.device)
    for index, t in enumerate(timesteps[first:], first):
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
    x: Float[Tensor, "batch *latent"],
    t: Shaped[Tensor, ""],
    index: int,
    guidance: EntropyGuidance,
    decode: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "batch *latent"], Float[Tensor, "batch *latent"]]:
    """The next x, and the denoised estimate x0_hat."""
    through_denoiser = guidance.through == "unet"
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(through_denoiser)
        with torch.set_grad_enabled(through_denoiser):
            output = denoiser(leaf, t)
            _, x0_hat = solver.step(output, index, leaf)
        at = leaf if through_denoiser else x0_hat.requires_grad_()
        gradient = guidance.gradient(decode(x0_hat) if guidance.reads_estimate else x0_hat, at)
    output = output.detach()
    if guidance.scale == "raw":
        output = solver.raise_score(output, guidance.weigh(gradient), index)
    x, x0_hat = solver.step(output, index, x)
    if guidance.scale == "relative":
        x = guidance.move(x, gradient)
    return x, x0_hat
