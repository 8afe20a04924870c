"""Pipelines of diffusers as samplers by their own calls, guided as dp_real.guide does it."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.generators.pipelines.guide import attach, check_pipeline, unguide
from dp_real.generators.pipelines.latent_diffusion import PipelineSampler, RealImages
from dp_real.generators.pipelines.latents import Images
from dp_real.generators.pipelines.scheduler import check_scheduler
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.pixels import fit
from dp_real.sections import first_step

PLAIN = {"use_resolution_binning": False, "clean_caption": False, "intermediate_timesteps": None}
"""What calls that take it are given: sizes, prompts and steps as they are asked for."""


class PipelineCalls(PipelineSampler):
    """A pipeline asked for prompts by its own call; a distilled guidance_scale stays at its usual value."""

    def __post_init__(self) -> None:
        name = type(self.pipe).__name__
        check_pipeline(self.pipe)
        check_scheduler(self.pipe.scheduler)
        super().__post_init__()
        if self.strength < 1:
            from diffusers.pipelines.auto_pipeline import AutoPipelineForImage2Image  # it imports all pipelines

            try:
                self.pipe = AutoPipelineForImage2Image.from_pipe(self.pipe)
            except ValueError as error:
                raise InputError(f"generator.strength: {name} has no pipeline that begins with images") from error
        self.pipe.set_progress_bar_config(disable=True)
        self.told = signature(type(self.pipe).__call__).parameters
        if self.guidance_scale > 1 and "negative_prompt_embeds" not in self.told:
            raise InputError(f"{name} has no classifier-free guidance: leave sampling.guidance_scale at 1")

    def noise(self, seeds: UInt64[np.ndarray, " batch"]) -> UInt64[np.ndarray, " batch"]:
        return seeds

    @torch.no_grad()
    def draw(
        self,
        asked: Sequence[str],
        noise: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
        to_learner: Callable[[Tensor], Tensor],
        real: RealImages | None,
    ) -> Images:
        given: dict[str, Any] = {key: value for key, value in PLAIN.items() if key in self.told}
        if "negative_prompt_embeds" in self.told:
            scale, empty = ("true_cfg_scale", " ") if "true_cfg_scale" in self.told else ("guidance_scale", "")
            given[scale] = self.guidance_scale
            if self.guidance_scale > 1 and "negative_prompt" in self.told:
                given["negative_prompt"] = [empty] * len(asked)
        size = self.size
        if real is not None:
            size = size or 2 * (self.pipe.default_sample_size * self.pipe.vae_scale_factor,)
            share = 1 - first_step(self.steps, self.strength) / self.steps  # a whole number of steps
            given |= {"image": (fit(real, (3, *size)) + 1) / 2, "strength": share}
        if size is not None:
            given |= {"height": size[0], "width": size[1]}
        rows = [torch.Generator().manual_seed(int(seed) >> 1) for seed in noise]  # torch takes signed seeds
        if guidance is not None:
            attach(self.pipe, guidance, self.guidance_decoder, to_learner)
        try:
            drawn = self.pipe(
                prompt=[*asked], num_inference_steps=self.steps, generator=rows, output_type="pt", **given
            )
        finally:
            unguide(self.pipe)
        return 2 * drawn.images.float() - 1
