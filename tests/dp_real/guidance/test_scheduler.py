"""Entropy guidance inside diffusers' own loop: the same images as the sampler's here."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.generators.pipelines.latent_diffusion import decode, sample_images
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.scheduler import GuidedDDIMScheduler
from dp_real.runtime.seeds import row_noise, row_seeds

PROMPTS = ["a coat", "a bag"]


@pytest.fixture(scope="module")
def pipe() -> Any:
    torch.manual_seed(0)
    pipe = make_pipeline(32, PROMPTS)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = GuidedDDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)).requires_grad_(False)


@pytest.mark.parametrize("options", [{}, {"every": 3}, {"window": (0.2, 0.7)}], ids=str)
def test_a_pipelines_own_call_is_guided_as_the_sampler_here_is(pipe: Any, classifier: nn.Module, options: dict):
    guidance = EntropyGuidance(classifier, omega=0.1, through="x0", **options)
    noise = row_noise(row_seeds(0, 0, range(2)), (4, 8, 8))

    def theirs(guidance: EntropyGuidance | None) -> torch.Tensor:
        pipe.scheduler.guide(guidance, partial(decode, pipe.vae))
        call = {"latents": noise, "num_inference_steps": 8, "guidance_scale": 2.0, "output_type": "pt"}
        return 2 * pipe(PROMPTS, **call).images - 1

    ours = sample_images(pipe, PROMPTS, guidance, steps=8, guidance_scale=2.0)
    plain, guided = theirs(None), theirs(guidance)
    torch.testing.assert_close(guided, ours, atol=1e-4, rtol=0)
    assert (guided - plain).flatten(1).abs().amax(1).min() > 0.05


@pytest.mark.parametrize("options", [{"through": "unet"}, {"scale": "raw"}, {"apply": "before"}], ids=str)
def test_what_a_scheduler_cannot_do_is_refused(pipe: Any, classifier: nn.Module, options: Any):
    with pytest.raises(ValueError, match="through = 'x0'"):
        pipe.scheduler.guide(EntropyGuidance(classifier, 0.1, **{"through": "x0", **options}))
