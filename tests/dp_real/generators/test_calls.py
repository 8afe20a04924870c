"""Pipelines that a run calls as they are: their own images without guidance, harder ones with it, row by row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline
from dp_real.generators.pipelines.calls import PipelineCalls
from torch import Tensor

from dp_base.errors import InputError
from dp_real.generators.pipelines.generator import PipelineGenerator, sample_images
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, entropy
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.generators import tiny_pipelines as tiny

pytestmark = tiny.THEIR_WARNINGS
STEPS = 3
SIZE = (32, 32)
SEEDS = row_seeds(0, 0, range(3))
BY_SCALE: dict[str, Any] = {"use_resolution_binning": False, "clean_caption": False}
FAMILIES: dict[Callable[[], Any], tuple[str | None, dict[str, Any]]] = {  # classifier-free guidance's name in its call
    tiny.stable_diffusion_3: ("guidance_scale", {}),
    tiny.flux: ("true_cfg_scale", {}),
    tiny.flux2: ("guidance_scale", {}),
    tiny.qwen_image: ("true_cfg_scale", {}),
    tiny.sana: ("guidance_scale", BY_SCALE),
    tiny.pixart: ("guidance_scale", BY_SCALE),
    tiny.latent_consistency: (None, {}),
    tiny.sana_sprint: (None, BY_SCALE | {"intermediate_timesteps": None}),
}


def calls(make: Callable[[], Any], scale: float = 1.0, size: tuple[int, int] = SIZE, **options: Any) -> PipelineCalls:
    return PipelineCalls(tiny.random_pipeline(make), STEPS, scale if FAMILIES[make][0] else 1.0, size=size, **options)


def theirs(make: Callable[[], Any], scale: float, size: tuple[int, int], negative: str = " ") -> Tensor:
    """What the pipeline's own call draws, with a generator for each row."""
    guidance, options = FAMILIES[make]
    given: dict[str, Any] = {guidance: scale} if guidance else {}
    if scale > 1 and guidance and make is not tiny.flux2:  # which takes none
        given["negative_prompt"] = [negative] * 3
    rows = [torch.Generator().manual_seed(int(seed) >> 1) for seed in SEEDS]
    call: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "pt", "generator": rows}
    pipe = tiny.random_pipeline(make)
    return 2 * pipe(prompt=tiny.PROMPTS, height=size[0], width=size[1], **call, **given, **options).images - 1


WIDE = (32, 64)
ASKED = [(make, 3.0, WIDE, "a photo of a hen") for make in FAMILIES]
ASKED += [(make, scale, SIZE, "") for make in (tiny.stable_diffusion_3, tiny.flux) for scale in (1.0, 3.0)]


@pytest.mark.parametrize(("make", "scale", "size", "negative"), ASKED, ids=tiny.name)
def test_without_guidance_it_is_the_pipelines_own_image(
    make: Callable[[], Any], scale: float, size: tuple[int, int], negative: str
):
    negative = negative if FAMILIES[make][0] and make is not tiny.flux2 else ""
    images = calls(make, scale, size, negative_prompt=negative).sample(tiny.PROMPTS, SEEDS)
    assert images.shape == (3, 3, *size)
    assert images.std() > 0.02
    torch.testing.assert_close(images, theirs(make, scale, size, negative or " "), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [tiny.stable_diffusion_3, tiny.flux2, tiny.sana_sprint], ids=tiny.name)
def test_guided_images_are_harder_and_a_batch_is_its_rows(make: Callable[[], Any]):
    """Harder than plain ones, and than those that random directions of the same length lead to."""
    model = calls(make, 2.0)
    with torch.no_grad():  # no pixel is clipped: what the guidance does there would not be seen
        for weight in model.pipe.vae.decoder.conv_out.parameters():
            weight.mul_(0.3)
    drawing = PipelineGenerator(model, [[prompt] for prompt in tiny.PROMPTS], (3, 16, 16))
    labels = torch.arange(3)
    plain = drawing.sample(labels, SEEDS, None)
    classifier = tiny.classifier_of(plain)
    gain: dict[int, float] = {}
    images = plain
    for sign in (1, -1):
        guidance = EntropyGuidance(classifier, torch.full((3,), sign * 3e-3), through="x0")
        images = drawing.sample(labels, SEEDS, guidance)
        gain[sign] = (entropy(classifier(images)) - entropy(classifier(plain))).mean().item()
    assert gain[1] > 1e-3
    assert gain[-1] < -1e-3
    torch.testing.assert_close(drawing.sample(labels[2:], SEEDS[2:], guidance), images[2:], atol=1e-3, rtol=0)
    model.batches._first = 2  # device batches
    torch.testing.assert_close(drawing.sample(labels, SEEDS, guidance), images, atol=1e-3, rtol=0)
    control = drawing.sample(labels, SEEDS, RandomGuidance(classifier, 3e-3, through="x0", seeds=SEEDS))
    assert (control - plain).abs().max() > 0
    assert abs((entropy(classifier(control)) - entropy(classifier(plain))).mean()) < gain[1] / 3
    torch.testing.assert_close(drawing.sample(labels, SEEDS, None), plain, atol=1e-3, rtol=0)  # it is not guided now


def test_real_images_are_noised_as_in_the_pipeline_for_them():
    make = tiny.stable_diffusion_3
    model = calls(make, 3.0, strength=0.7)  # two of three steps
    real = torch.rand(3, 1, 40, 40) * 2 - 1  # grey, and of another size
    images = model.sample(tiny.PROMPTS, SEEDS, real=real)
    assert isinstance(model.pipe, StableDiffusion3Img2ImgPipeline)
    assert images.shape == (3, 3, 32, 32)
    assert (images - model.sample(tiny.PROMPTS, SEEDS, real=-real)).abs().max() > 1e-2
    torch.testing.assert_close(model.sample(tiny.PROMPTS[1:], SEEDS[1:], real=real[1:]), images[1:], atol=1e-3, rtol=0)
    guidance = EntropyGuidance(tiny.three, 0.1, through="x0")
    assert (model.sample(tiny.PROMPTS, SEEDS, guidance, real=real) - images).abs().max() > 1e-2
    with pytest.raises(InputError, match=r"generator\.strength: SanaPipeline has no pipeline that begins with images"):
        calls(tiny.sana, strength=0.5)


@pytest.mark.parametrize("make", [tiny.sana, tiny.stable_diffusion_3], ids=tiny.name)
def test_a_saved_pipeline_is_a_generator(make: Callable[[], Any], tmp_path: Path):
    """A decoder that cannot save memory is left as it is."""
    tiny.random_pipeline(make).save_pretrained(tmp_path)
    options: dict[str, Any] = {"size": 32, "checkpointing": True, "offload": True, "batch_size": 2}
    frugal = tiny.config_of(tmp_path, **options, guidance={"through": "x0"})
    generator: Any = load_generator(frugal)
    assert generator.model.network.is_gradient_checkpointing
    expected = PipelineCalls(tiny.random_pipeline(make), tiny.STEPS, 2.0, size=SIZE).sample(tiny.PROMPTS, SEEDS)
    torch.testing.assert_close(generator.sample(torch.arange(3), SEEDS, None), expected, atol=1e-3, rtol=0)
    with pytest.raises(InputError, match=r"guidance.through = 'x0' and guidance.scale = 'relative' only"):
        load_generator(tiny.config_of(tmp_path))


def test_what_a_pipeline_cannot_do_is_refused():
    with pytest.raises(InputError, match="FluxPipeline cannot draw 32 x 36 pixels: multiples of 8, it can"):
        calls(tiny.flux, size=(32, 36))
    with pytest.raises(InputError, match="multiples of 8, 64 at most, it can"):
        calls(tiny.stable_diffusion_3, size=(32, 72))
    with pytest.raises(InputError, match="LatentConsistencyModelPipeline has no classifier-free guidance"):
        PipelineCalls(tiny.random_pipeline(tiny.latent_consistency), STEPS, 2.0)
    refused: list[tuple[Any, dict[str, Any]]] = [
        (tiny.flux, {"guidance_rescale": 0.5}),
        (tiny.flux2, {"negative_prompt": "a hen"}),
    ]
    for make, options in refused:
        with pytest.raises(InputError, match=f"{next(iter(options))}: Flux.*Pipeline does not take it"):
            calls(make, 2.0, **options)
    with pytest.raises(InputError, match="guides with through = 'x0' and scale = 'relative' only"):
        sample_images(tiny.random_pipeline(tiny.flux), ["a hen"], EntropyGuidance(torch.nn.Identity(), 0.1))
