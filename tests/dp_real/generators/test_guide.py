"""dp_real.guide on each family of pipelines and each solver: harder images at the same noise, and a way back."""

import copy
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    SCMScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image
from torch import Tensor, nn

import dp_real
from dp_base.errors import InputError
from dp_real.generators.pipelines.latents import decode
from dp_real.generators.pipelines.scheduler import KNOWN, guide_steps
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import FAMILIES, PROMPTS, N, assert_guided, draw, three

pytestmark = tiny.THEIR_WARNINGS


def assert_seen(pipe: Any, make: Callable[[], Any], size: tuple[int, int] = (32, 32)) -> None:
    """After a single step x0_hat is the image, so that the classifier sees what the pipeline draws."""
    seen: list[Tensor] = []
    if "set_alpha_to_one" in pipe.scheduler.config:  # else some noise would remain
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, set_alpha_to_one=True)
    plain = draw(pipe, make, steps=1, size=size)
    dp_real.guide(pipe, lambda x: (seen.append(x.detach()), three(x))[1], 0.01)
    draw(pipe, make, steps=1, size=size)
    assert plain.std() > 0.05
    torch.testing.assert_close(seen[-1][:N].clamp(-1, 1), plain, atol=1e-4, rtol=0)  # DiT has its rows twice


DISTILLED = (tiny.latent_consistency, tiny.sana_sprint)


@pytest.mark.parametrize("make", FAMILIES, ids=tiny.name)
def test_each_family_draws_harder_images_that_the_classifier_sees(make: Callable[[], Any]):
    pipe = tiny.random_pipeline(make)
    assert_guided(pipe, partial(draw, make=make, steps=3 if make in DISTILLED else 4))
    assert_seen(pipe, make)


DIFFUSION = [
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
    PNDMScheduler,
    LCMScheduler,
]
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOWS: list[tuple[Any, dict[str, Any]]] = [
    (FlowMatchEulerDiscreteScheduler, {}),
    (FlowMatchHeunDiscreteScheduler, {}),
    (DPMSolverMultistepScheduler, FLOW),
    (UniPCMultistepScheduler, FLOW),
]
EPSILON = {"prediction_type": "epsilon"}
SOLVERS = [(tiny.stable_diffusion, kind, EPSILON | {"skip_prk_steps": True}) for kind in DIFFUSION]
SOLVERS += [(tiny.stable_diffusion_3, kind, options) for kind, options in FLOWS]


@pytest.mark.parametrize(("make", "kind", "options"), SOLVERS, ids=tiny.name)
def test_each_solver_is_guided_and_the_classifier_sees_what_it_draws(
    make: Callable[[], Any], kind: Any, options: dict[str, Any]
):
    pipe = tiny.random_pipeline(make)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    assert_guided(pipe, partial(draw, make=make))
    assert_seen(pipe, make)


def test_the_classifier_sees_what_pndm_draws_by_v_prediction():
    """Its x0_hat is computed here."""
    pipe = tiny.random_pipeline()
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True)
    assert_seen(pipe, tiny.stable_diffusion)


def test_every_solver_that_is_known_is_tested():
    assert {kind for _, kind, _ in SOLVERS} | {SCMScheduler} == set(KNOWN)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("make", [tiny.stable_diffusion_xl, tiny.flux, *DISTILLED], ids=tiny.name)
def test_schedules_of_a_few_steps(make: Callable[[], Any], steps: int):
    """As distilled pipelines have; a single step is guided, too."""
    pipe = tiny.random_pipeline(make)
    if make is tiny.stable_diffusion_xl:
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    assert_guided(pipe, partial(draw, make=make, steps=steps))


@pytest.mark.parametrize("make", [tiny.stable_diffusion, tiny.flux, tiny.qwen_image], ids=tiny.name)
def test_sizes_and_several_images_a_prompt_as_ever(make: Callable[[], Any]):
    """Packed latents do not tell the image's shape."""
    assert_seen(tiny.random_pipeline(make), make, size=(32, 64))
    pipe = dp_real.guide(tiny.random_pipeline(make), three, 0.1)
    call: dict[str, Any] = {"num_inference_steps": 2, "height": 64, "width": 32, "num_images_per_prompt": 2}
    images = pipe("a hen", **call, **({"max_sequence_length": 16} if make is tiny.flux else {})).images
    assert [image.size for image in images] == [(32, 64)] * 2  # of Pillow: width, height


def test_any_objective_can_be_raised():
    pipe = tiny.random_pipeline()
    plain = draw(pipe)
    classifier = tiny.classifier_of(plain)
    for wanted in (0, 1):
        dp_real.guide(pipe, classifier, 3e-4, objective=lambda logits, wanted=wanted: logits[:, wanted])
        assert (classifier(draw(pipe)) - classifier(plain))[:, wanted].min() > 0


@pytest.mark.parametrize("options", [{"every": 3}, {"window": (0.2, 0.7)}], ids=str)
def test_it_is_the_guidance_of_the_sampler_here(options: dict[str, Any]):
    pipe = tiny.random_pipeline()
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    noise = row_noise(row_seeds(0, 0, range(N)), (4, 8, 8))

    def theirs() -> Tensor:
        call: dict[str, Any] = {"latents": noise, "num_inference_steps": 8, "guidance_scale": 2.0, "output_type": "pt"}
        return 2 * pipe(PROMPTS, **call).images - 1

    plain = theirs()
    classifier = tiny.classifier_of(plain)
    guidance = EntropyGuidance(classifier, omega=0.1, through="x0", **options)
    ours = dp_real.sample_images(pipe, PROMPTS, guidance, steps=8, guidance_scale=2.0)
    guided = (dp_real.guide(pipe, classifier, 0.1, **options), theirs())[1]
    torch.testing.assert_close(guided, ours, atol=1e-4, rtol=0)
    assert (guided - plain).flatten(1).abs().amax(1).min() > 0.05


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler], ids=tiny.name)
def test_after_a_push_a_multistep_solver_starts_again(kind: Any):
    """Each step is one of first order from where guidance led, then guidance of its own. UniC would undo it."""
    scheduler, steps, omega = kind(**tiny.BETAS), 6, 0.2
    scheduler.set_timesteps(steps)
    guide_steps(scheduler, EntropyGuidance(three, omega, through="x0"), lambda x0_hat: x0_hat)
    torch.manual_seed(2)
    x = torch.randn(2, 4, 8, 8)
    for index, t in enumerate(scheduler.timesteps):
        output, before = torch.randn_like(x), x
        x = scheduler.step(output, t, x, return_dict=False)[0]
        now, after = scheduler.sigmas[index : index + 2]
        (a, s), (a_after, s_after) = (scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in (now, after))
        unguided = a_after * (before - s * output) / a + s_after * output  # DDIM
        guided, whole = (each.flatten(1).norm(dim=1) for each in (x - unguided, unguided))
        torch.testing.assert_close(guided, omega * whole * (index < steps - 1), atol=1e-3, rtol=1e-3)


def test_nothing_is_touched_without_a_strength():
    pipe = tiny.random_pipeline()
    before = dict(vars(pipe)), dict(vars(pipe.scheduler))
    dp_real.guide(pipe, "no/such-classifier", omega=0)
    assert (dict(vars(pipe)), dict(vars(pipe.scheduler))) == before


def test_guided_anew_the_former_guidance_is_gone_and_inference_mode_changes_nothing():
    pipe = tiny.random_pipeline()
    classifier = tiny.classifier_of(draw(pipe))
    once = draw(dp_real.guide(pipe, classifier, 0.1))
    dp_real.guide(pipe, three, 0.3)
    dp_real.guide(pipe, classifier, 0.1)
    with torch.inference_mode():
        assert torch.equal(draw(pipe), once)


def test_a_copy_of_a_guided_scheduler_is_guided_itself():
    """Some pipelines copy theirs; a step of the copy must not be one of the original."""
    pipe = dp_real.guide(tiny.random_pipeline(tiny.stable_diffusion_xl), three, 0.1)
    copied = copy.deepcopy(pipe.scheduler)
    copied.set_timesteps(3)
    copied.step(torch.ones(1, 4, 8, 8), copied.timesteps[0], torch.ones(1, 4, 8, 8))
    assert (copied.step_index, pipe.scheduler.step_index) == (1, None)


def test_a_tiny_decoder_may_guide():
    pipe = tiny.random_pipeline()
    seen: list[Tensor] = []
    dp_real.guide(pipe, lambda x: (seen.append(x), three(x))[1], 0.1, decoder=tiny.tiny_decoder())
    guided = draw(pipe)
    assert len(seen) == 4  # once to see that it reads float32, and not at the last step
    assert seen[1].shape == (N, 3, 32, 32)
    assert not torch.equal(draw(dp_real.unguide(pipe)), guided)


def test_a_decoder_that_overflows_in_half_precision_is_copied():
    pipe = tiny.random_pipeline(tiny.stable_diffusion_xl).to(dtype=torch.float16)
    dtypes: list[torch.dtype] = []
    pipe.vae.register_to_config(force_upcast=True)
    dp_real.guide(pipe, lambda x: (dtypes.append(x.dtype), three(x))[1], 0.05)
    draw(pipe, tiny.stable_diffusion_xl)
    assert dtypes == 4 * [torch.float32]
    assert pipe.vae.dtype == torch.float16


def test_latents_are_decoded_as_the_pipeline_does():
    """By mean and deviation of each channel, in families whose decoder has them."""
    for make in (tiny.stable_diffusion_xl, tiny.qwen_image):
        pipe = tiny.random_pipeline(make)
        if make is tiny.stable_diffusion_xl:
            pipe.vae.register_to_config(latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0])
        expected = draw(pipe, make)
        call = FAMILIES[make] | {"height": 32, "width": 32, "num_inference_steps": 4, "output_type": "latent"}
        latents = pipe(PROMPTS, generator=torch.Generator().manual_seed(0), **call).images
        if make is tiny.qwen_image:
            latents = pipe._unpack_latents(latents, 32, 32, pipe.vae_scale_factor)
        with torch.no_grad():
            torch.testing.assert_close(decode(pipe.vae, latents).clamp(-1, 1), expected, atol=1e-5, rtol=0)


# what cannot be guided


class Films:
    """A pipeline as AnimateDiff's."""

    def __call__(self, prompt: str, num_frames: int = 16) -> None: ...


class Kandinsky:
    """A decoder's pipeline as Kandinsky 2.2's."""

    scheduler = DDIMScheduler()
    movq = nn.Identity()

    def __call__(self, image_embeds: Tensor) -> None: ...


class TwoStages(Kandinsky):
    """A pipeline as KandinskyV22CombinedPipeline."""

    prior_prior = nn.Identity()


@pytest.mark.parametrize(
    ("pipe", "reason"),
    [
        (Films(), "Films draws films: only images can be shown"),
        (Kandinsky(), "Kandinsky cannot be guided: its decoder is a Identity; those with a vae"),
        (TwoStages(), "TwoStages has two stages, a prior and a decoder"),
    ],
    ids=["films", "movq", "two-stages"],
)
def test_a_pipeline_that_cannot_be_guided_is_told_why(pipe: Any, reason: str):
    with pytest.raises(InputError, match=reason):
        dp_real.guide(pipe, three, 0.1)


def test_what_cannot_be_guided_is_said():
    pipe = tiny.random_pipeline()
    usual = pipe.scheduler
    with pytest.raises(InputError, match="training mode"):
        dp_real.guide(pipe, nn.Identity().train(), 0.1)
    for scheduler, message in (
        (DEISMultistepScheduler(), "DEISMultistepScheduler cannot be guided; these can: DDIMScheduler, "),
        (UniPCMultistepScheduler(predict_x0=False), "set to predict noise"),
        (PNDMScheduler(), "skip_prk_steps"),
    ):
        pipe.scheduler = scheduler
        with pytest.raises(InputError, match=message):
            dp_real.guide(pipe, three, 0.1)
    pipe.scheduler = usual
    dp_real.guide(pipe, three, 0.1)
    pipe.scheduler = EulerDiscreteScheduler.from_config(usual.config)
    with pytest.raises(InputError, match="another scheduler"):
        draw(pipe)
    draw(dp_real.unguide(pipe))
    pipe.vae = nn.Identity()
    with pytest.raises(InputError, match="latents of Identity"):
        dp_real.guide(pipe, nn.Identity().eval(), 0.1)
    for options in ({"through": "unet"}, {"scale": "raw"}):
        guidance = EntropyGuidance(three, 0.1, **{"through": "x0", **options})
        with pytest.raises(InputError, match="through = 'x0'"):
            guide_steps(DDIMScheduler(), guidance, lambda x: x)


@pytest.mark.parametrize(
    "options", [{"omega": float("nan")}, {"every": 0}, {"window": (0.7, 0.2)}, {"window": (3.0, 5.0)}]
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]):
    with pytest.raises(InputError, match="should be"):
        dp_real.guide(Films(), three, **options)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a tiny pipeline and a tiny classifier in the places of the published ones."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "dp_real.guide" in code)
    tiny.random_pipeline(tiny.stable_diffusion_xl).save_pretrained(tmp_path / "pipeline")
    tiny.tiny_vit().save_pretrained(tmp_path / "classifier")
    tiny.vit_processor().save_pretrained(tmp_path / "classifier")
    places = {"stabilityai/sdxl-turbo": "pipeline", "google/vit-base-patch16-224": "classifier"}
    for published, place in places.items():
        assert published in example
        example = example.replace(published, str(tmp_path / place))
    guided: list[Any] = []
    monkeypatch.setattr(EntropyGuidance, "move", lambda self, x, gradient: guided.append(gradient) or x)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    with Image.open("crane.png") as image:
        assert image.size == (32, 32)
    assert len(guided) == 3
    assert all(gradient.abs().max() > 0 for gradient in guided)
