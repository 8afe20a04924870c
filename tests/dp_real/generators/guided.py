"""Calls of pipelines that dp_real.guide guides: what makes each family tiny, and what guidance must do to it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import dp_real
from dp_real.guidance.entropy import entropy
from tests.dp_real.generators import tiny_pipelines as tiny

N = 3
PROMPTS = tiny.PROMPTS
NO_BINNING: dict[str, Any] = {"use_resolution_binning": False, "max_sequence_length": 16}
FAMILIES: dict[Callable[[], Any], dict[str, Any]] = {  # each with what its call needs to be tiny
    tiny.stable_diffusion: {"negative_prompt": N * ["blurry"]},
    tiny.stable_diffusion_xl: {"negative_prompt": N * ["blurry"]},
    tiny.stable_diffusion_3: {"negative_prompt": N * ["blurry"]},
    tiny.flux: {"max_sequence_length": 16},
    tiny.flux2: {"max_sequence_length": 16},
    tiny.qwen_image: {"negative_prompt": N * ["blurry"]},
    tiny.sana: NO_BINNING | {"complex_human_instruction": None},
    tiny.pixart: NO_BINNING | {"clean_caption": False},
    tiny.latent_consistency: {},
    tiny.sana_sprint: NO_BINNING
    | {"complex_human_instruction": None, "intermediate_timesteps": None, "max_timesteps": 0.5},
    tiny.dit: {"class_labels": list(range(N))},
    tiny.pixels: {"batch_size": N},
}
FEW_STEPS = (tiny.latent_consistency, tiny.sana_sprint)


def draw(
    pipe: Any, make: Callable[[], Any], steps: int = 4, size: tuple[int, int] = (32, 32), **options: Any
) -> Tensor:
    """What the pipeline's own call draws from one noise, [N, 3, H, W] in [-1, 1]."""
    call: dict[str, Any] = {"num_inference_steps": steps, "generator": torch.Generator().manual_seed(0)}
    call |= FAMILIES[make] | options
    if "class_labels" in call or "batch_size" in call:
        images = pipe(**call, output_type="np").images
        return 2 * torch.from_numpy(images).permute(0, 3, 1, 2) - 1
    return 2 * pipe(prompt=PROMPTS, height=size[0], width=size[1], output_type="pt", **call).images - 1


def assert_guided(pipe: Any, make: Callable[[], Any], omega: float = 3e-4, **options: Any) -> None:
    """A positive omega raises the entropy of the images at the same noise, a negative one lowers it."""
    plain = draw(pipe, make, **options)
    classifier = tiny.classifier_of(plain)
    before = entropy(classifier(plain)).mean()
    for sign in (1, -1):
        assert dp_real.guide(pipe, classifier, sign * omega) is pipe
        images = draw(pipe, make, **options)
        assert sign * (entropy(classifier(images)).mean() - before) > 0.001
    torch.testing.assert_close(draw(dp_real.unguide(pipe), make, **options), plain, atol=1e-5, rtol=0)
