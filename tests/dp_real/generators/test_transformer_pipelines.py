"""FLUX, Qwen-Image, SANA and PixArt as generators: their own images without guidance, harder ones with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from dp_base.errors import InputError
from dp_real.generators.pipelines.adapters import adapt
from dp_real.generators.pipelines.generator import PipelineGenerator
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators import tiny_pipelines as tiny

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

STEPS, SIDE = 3, 8
NO_BINNING: dict[str, Any] = {"use_resolution_binning": False, "clean_caption": False}
FAMILIES: dict[Callable[[], Any], tuple[str, dict[str, Any]]] = {  # the name of classifier-free guidance in its call
    tiny.flux: ("true_cfg_scale", {"negative_prompt": [""] * 3}),
    tiny.qwen_image: ("true_cfg_scale", {"negative_prompt": [" "] * 3}),
    tiny.sana: ("guidance_scale", NO_BINNING),
    tiny.pixart: ("guidance_scale", NO_BINNING),
}
OTHERS: dict[Callable[[], Any], tuple[str, dict[str, Any]]] = {
    tiny.stable_diffusion_xl: ("guidance_scale", {}),
    tiny.stable_diffusion_3: ("guidance_scale", {}),
}


def pipeline(make: Callable[[], Any]) -> Any:
    """With images of 32 pixels."""
    pipe = tiny.random_pipeline(make)
    pipe.default_sample_size = SIDE
    return pipe


def noise(width: int = SIDE) -> Tensor:
    return row_noise(row_seeds(0, 0, range(3)), (4, SIDE, width))


def theirs(pipe: Any, make: Callable[[], Any], scale: float, width: int = SIDE) -> Tensor:
    """What the pipeline's own loop makes of this noise, by DDIM or Euler."""
    x, (guidance, options) = noise(width), (FAMILIES | OTHERS)[make]
    if hasattr(pipe, "_pack_latents"):
        x = pipe._pack_latents(x, *x.shape)
    elif make in (tiny.pixart, tiny.stable_diffusion_xl):
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    elif make is tiny.sana:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=pipe.scheduler.config.flow_shift)
    call: dict[str, Any] = {
        "num_inference_steps": STEPS,
        "output_type": "pt",
        "height": 32,
        "width": 4 * width,
        guidance: scale,
    }
    return 2 * pipe(tiny.PROMPTS, latents=x, **call, **options).images - 1


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("make", FAMILIES, ids=tiny.name)
def test_without_guidance_it_is_the_pipelines_own_image(make: Callable[[], Any], scale: float):
    pipe = pipeline(make)
    images = LatentDiffusion(pipe, STEPS, scale).sample(tiny.PROMPTS, noise())
    assert images.std() > 0.02
    torch.testing.assert_close(images, theirs(pipe, make, scale), atol=5e-4, rtol=0)


@pytest.mark.parametrize("make", [*FAMILIES, *OTHERS], ids=tiny.name)
def test_at_another_size_it_is_the_pipelines_own_image_too(make: Callable[[], Any]):
    """Not square, and larger than usual: packing, positions, the schedule's shift and what is told of the size."""
    pipe = pipeline(make)
    images = LatentDiffusion(pipe, STEPS, 3.0, size=(32, 64)).sample(tiny.PROMPTS, noise(16))
    assert images.shape == (3, 3, 32, 64)
    torch.testing.assert_close(images, theirs(pipe, make, 3.0, width=16), atol=5e-4, rtol=0)


def test_tokens_of_qwen_image_keep_their_length_under_classifier_free_guidance():
    """With prompts that matter: by its tiny random weights alone guidance hardly changes an image."""
    pipe = pipeline(tiny.qwen_image)
    with torch.no_grad():
        pipe.transformer.txt_in.weight *= 50
    plain, guided = (LatentDiffusion(pipe, STEPS, scale).sample(tiny.PROMPTS, noise()) for scale in (1.0, 3.0))
    expected = theirs(pipe, tiny.qwen_image, 3.0)
    assert (guided - plain).abs().max() > 100 * (guided - expected).abs().max()


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_scale_of_at_most_1_asks_for_the_prompt_alone(scale: float):
    """As in diffusers: 0 is what distilled models are called with."""
    pipe = pipeline(tiny.stable_diffusion_xl)
    images = LatentDiffusion(pipe, STEPS, scale).sample(tiny.PROMPTS, noise())
    torch.testing.assert_close(images, theirs(pipe, tiny.stable_diffusion_xl, scale), atol=5e-4, rtol=0)


@pytest.mark.parametrize("make", [tiny.sana, tiny.qwen_image], ids=tiny.name)
def test_a_decoder_that_cannot_save_memory_is_left_as_it_is(make: Callable[[], Any], tmp_path: Path):
    pipe = pipeline(make)
    pipe.save_pretrained(tmp_path)
    generator: Any = load_generator(tiny.config_of(tmp_path, checkpointing=True))
    assert generator.model.network.is_gradient_checkpointing
    pipe.vae.half()
    LatentDiffusion(pipe, STEPS, 1.0)  # a float16 decoder of another kind than Stable Diffusion's


def test_a_size_that_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="FluxPipeline cannot draw 32 x 36 pixels: multiples of 8, it can"):
        LatentDiffusion(pipeline(tiny.flux), STEPS, 1.0, size=(32, 36))
    with pytest.raises(InputError, match="multiples of 8, 64 at most, it can"):
        LatentDiffusion(pipeline(tiny.stable_diffusion_3), STEPS, 1.0, size=(32, 72))


def test_what_pixart_is_told_of_the_size():
    pipe = pipeline(tiny.pixart)
    pipe.transformer.use_additional_conditions = True
    condition = adapt(pipe, (32, 64)).embed("a hen")
    assert (condition["resolution"].tolist(), condition["aspect_ratio"].tolist()) == ([[32, 64]], [[0.5]])


@pytest.mark.parametrize("make", FAMILIES, ids=tiny.name)
def test_guided_images_are_harder_and_a_batch_is_its_rows(make: Callable[[], Any]):
    pipe = pipeline(make)
    with torch.no_grad():  # no pixel is clipped: what the guidance does there would not be seen
        for weight in pipe.vae.decoder.conv_out.parameters():
            weight.mul_(0.3)
    model = LatentDiffusion(pipe, STEPS, 2.0)
    drawing = PipelineGenerator(model, [[prompt] for prompt in tiny.PROMPTS], (3, 16, 16))
    labels, seeds = torch.arange(3), row_seeds(0, 0, range(3))
    plain = drawing.sample(labels, seeds, None)
    classifier = tiny.classifier_of(plain)
    before = entropy(classifier(plain)).mean()
    for sign in (1, -1):
        guidance = EntropyGuidance(classifier, sign * 2e-4, through="unet")
        images = drawing.sample(labels, seeds, guidance)
        assert sign * (entropy(classifier(images)).mean() - before) > 1e-4
    torch.testing.assert_close(drawing.sample(labels[2:], seeds[2:], guidance), images[2:], atol=1e-3, rtol=0)
