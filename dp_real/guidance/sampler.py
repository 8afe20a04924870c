"""DDIM with entropy guidance inside (paper section 2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance, Latents


def identity(x: Tensor) -> Tensor:
    """The decoder of models that denoise in the learner's own space."""
    return x


@torch.no_grad()
def sample(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    x: Latents,
    *,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Latents:
    """Turn standard normal noise into samples by the steps of a DDIMScheduler (paper eq. 4).

    `denoiser(x_t, t)` returns what the scheduler expects, classifier-free guidance included. `decode` maps x0_hat to
    what guidance.logits reads; `callback` gets each step's index and x0_hat (paper Fig. 8).
    """
    times = scheduler.timesteps.tolist()
    for index, t in enumerate(scheduler.timesteps.to(x.device)):
        if guidance is None or not guidance.guides(index, len(times)):
            x, x0_hat = scheduler.step(denoiser(x, t), times[index], x, return_dict=False)
        else:
            through_denoiser = guidance.through == "unet"
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(through_denoiser)
                with torch.set_grad_enabled(through_denoiser):
                    output = denoiser(leaf, t)
                    _, x0_hat = scheduler.step(output, times[index], leaf, return_dict=False)
                at = leaf if through_denoiser else x0_hat.requires_grad_()
                gradient = guidance.gradient(decode(x0_hat) if guidance.reads_estimate else x0_hat, at)
            output = output.detach()
            if guidance.scale == "raw":
                output = raise_score(scheduler, times[index], output, guidance.weigh(gradient))
            x, x0_hat = scheduler.step(output, times[index], x, return_dict=False)
            if guidance.scale == "relative":
                x = guidance.move(x, gradient)
        if callback:
            callback(index, x0_hat)
    return x


def raise_score(scheduler: Any, t: int, output: Latents, by: Latents) -> Latents:
    """The denoiser's output as if the score, -noise/sigma, had `by` added (paper eq. 7, with its sign mended)."""
    alpha_bar = scheduler.alphas_cumprod[t].item()  # the schedule stays on the CPU: a GPU would be waited for
    a = alpha_bar**0.5
    sigma = (1 - alpha_bar) ** 0.5
    if a == 0:
        return output
    factors = {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}
    return output + factors[scheduler.config["prediction_type"]] * by
