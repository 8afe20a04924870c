"""Entropy guidance as a scheduler, for diffusers pipelines that run their own loop, including modular ones:

    scheduler = GuidedDDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.scheduler = scheduler.guide(EntropyGuidance(logits, omega=0.05, through="x0"), partial(decode, pipe.vae))
    images = pipe("a photo of a crane").images

with `decode` of generators.pipelines.latent_diffusion. In diffusers a guider sees noise predictions and a step callback
sees x_t, but neither sees x0_hat. The scheduler's step does, and it needs no gradient through the denoiser.
"""

from collections.abc import Callable
from typing import Self

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler, DDIMSchedulerOutput
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import identity


class GuidedDDIMScheduler(DDIMScheduler):
    """DDIM with entropy guidance at its steps, as in dp_real.guidance.sampler. Plain DDIM until `guide` is called."""

    guidance: EntropyGuidance | None = None
    decode: Callable[[Tensor], Tensor] = staticmethod(identity)

    def guide(self, guidance: EntropyGuidance | None, decode: Callable[[Tensor], Tensor] = identity) -> Self:
        """Use this guidance from the next step on, None for plain DDIM; returns self.

        decode maps x0_hat to the space that guidance.logits reads.
        Raises ValueError unless guidance has through = "x0", scale = "relative" and apply = "after".
        """
        if guidance and (guidance.through, guidance.scale, guidance.apply) != ("x0", "relative", "after"):
            raise ValueError("a scheduler can guide through = 'x0', scale = 'relative', apply = 'after' only")
        self.guidance, self.decode = guidance, decode
        return self

    def step(
        self,
        model_output: Tensor,
        timestep: int,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[Tensor, Tensor]:
        """See DDIMScheduler."""
        previous, x0_hat = super().step(
            model_output, timestep, sample, eta, use_clipped_model_output, generator, variance_noise, return_dict=False
        )
        index, guidance = int((self.timesteps == timestep).nonzero()[0]), self.guidance
        if guidance and guidance.guides(index, len(self.timesteps)):
            with torch.enable_grad():
                leaf = x0_hat.detach().float().requires_grad_()
                gradient = guidance.gradient(self.decode(leaf), leaf)
            previous = guidance.push(previous.float(), gradient).to(previous)
        return DDIMSchedulerOutput(previous, x0_hat) if return_dict else (previous, x0_hat)
