"""DDIM with entropy guidance inside (paper section 2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance, Latents

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoiser(x_t, t) returns what its solver expects (noise, velocity, …), classifier-free guidance included."""


def identity(x: Tensor) -> Tensor:
    """The decoder of models that denoise in the learner's own space."""
    return x


@dataclass(frozen=True)
class DDIM:
    """A noise schedule, x_t = a·x0 + sigma·noise, and DDIM's steps from noise to x0 (paper eq. 4)."""

    scheduler: Any

    @property
    def timesteps(self) -> Shaped[Tensor, " steps"]:
        return self.scheduler.timesteps

    def step(self, output: Latents, index: int, x: Latents) -> tuple[Latents, Latents]:
        return self.scheduler.step(output, int(self.timesteps[index]), x, return_dict=False)

    def noised(self, x0: Latents, noise: Latents, index: int) -> Latents:
        """x_t = a·x0 + sigma·noise before a step, for standard normal noise."""
        return self.scheduler.add_noise(x0, noise, self.timesteps[index : index + 1])

    def raise_score(self, output: Latents, by: Latents, index: int) -> Latents:
        """The output as if the score, -noise/sigma, had `by` added (paper eq. 7, with its sign mended)."""
        # The schedule stays on the CPU: a GPU would be waited for.
        alpha_bar = self.scheduler.alphas_cumprod[int(self.timesteps[index])].item()
        a = alpha_bar**0.5
        sigma = (1 - alpha_bar) ** 0.5
        if a == 0:
            return output
        factors = {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}
        return output + factors[self.scheduler.config["prediction_type"]] * by


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    solver: DDIM,
    x: Latents,
    *,
    first: int = 0,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Latents:
    """Turn standard normal noise, or what `solver.noised` returned for step `first`, into samples.

    `decode` maps x0_hat to what guidance.logits reads; `callback` gets each step's index and x0_hat (paper Fig. 8).
    """
    timesteps = solver.timesteps.to(x.device)
    for index, t in enumerate(timesteps[first:], first):
        if guidance is None or not guidance.guides(index, len(timesteps)):
            x, x0_hat = solver.step(denoiser(x, t), index, x)
        else:
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
        if callback:
            callback(index, x0_hat)
    return x
