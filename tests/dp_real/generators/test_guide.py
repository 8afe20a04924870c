"""dp_real.guide on each family of pipelines and each solver: harder images at the same noise, and a way back."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_scm import SCMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from PIL import Image
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.vit.modeling_vit import ViTForImageClassification

import dp_real
from dp_base.errors import InputError
from dp_real.examples import Task
from dp_real.generators.pipelines.latents import decode
from dp_real.generators.pipelines.scheduler import KNOWN, guide_steps
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.learners.models.classifier import Classifier, ClassifierLearner
from dp_real.runtime.seeds import row_noise, row_seeds
from dp_real.sections import TrainingConfig
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.guided import FAMILIES, FEW_STEPS, PROMPTS, N, assert_guided, draw

# of diffusers' own code
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]


@pytest.mark.parametrize("make", FAMILIES, ids=tiny.name)
def test_each_family_draws_harder_images_and_goes_back(make: Callable[[], Any]):
    assert_guided(tiny.random_pipeline(make), make, steps=3 if make in FEW_STEPS else 4)


def tiny_vit(channels: int = 3) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return ViTForImageClassification(
        ViTConfig(**sizes, image_size=16, patch_size=8, num_channels=channels, num_labels=3)
    ).eval()


@pytest.mark.parametrize("channels", [3, 1])
def test_a_loaded_model_of_transformers_guides_as_its_folder_does(tmp_path: Path, channels: int):
    """What people have in hand, with its processor, or with one that is read from where the model came from."""
    make = tiny.stable_diffusion
    model = tiny_vit(channels)
    processor = ViTImageProcessorPil(
        size={"height": 16, "width": 16}, image_mean=[0.4] * channels, image_std=[0.2] * channels
    )
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    expected = draw(dp_real.guide(tiny.random_pipeline(make), str(tmp_path), 0.01), make)
    assert not torch.equal(expected, draw(tiny.random_pipeline(make), make))
    reread = ViTForImageClassification.from_pretrained(tmp_path)
    ways: list[dict[str, Any]] = [{"classifier": model, "processor": processor}, {"classifier": reread}]
    for given in ways:
        torch.testing.assert_close(draw(dp_real.guide(tiny.random_pipeline(make), omega=0.01, **given), make), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())  # it stays as it was
    with pytest.raises(InputError, match="ViTForImageClassification: how its images are normalised is not known"):
        dp_real.guide(tiny.random_pipeline(make), model, 0.01)


def test_a_grey_learner_that_was_saved_guides(tmp_path: Path):
    """Its folder takes colours, as others load it, and the guidance is that of the learner itself."""
    make = tiny.stable_diffusion
    task = Task((1, 16, 16), ("a", "b", "c"))
    classifier = Classifier(tiny_vit(1), 16, [0.5], [0.5])
    ClassifierLearner(classifier, task, TrainingConfig(steps=1), seed=0).save(tmp_path)
    classifier.eval()
    own = draw(dp_real.guide(tiny.random_pipeline(make), classifier, 0.01), make)
    saved = draw(dp_real.guide(tiny.random_pipeline(make), str(tmp_path), 0.01), make)
    assert not torch.equal(saved, draw(tiny.random_pipeline(make), make))
    torch.testing.assert_close(saved, own, rtol=0.0, atol=1e-4)


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
        dp_real.guide(pipe, lambda x: x.flatten(1), 0.1)


def test_any_objective_can_be_raised():
    make = tiny.stable_diffusion
    pipe = tiny.random_pipeline(make)
    plain = draw(pipe, make)
    classifier = tiny.classifier_of(plain)
    for wanted in (0, 1):
        dp_real.guide(pipe, classifier, 3e-4, objective=lambda logits, wanted=wanted: logits[:, wanted])
        raised = classifier(draw(pipe, make))[:, wanted] - classifier(plain)[:, wanted]
        assert (raised > 0).all()


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
FLOWS: list[tuple[Any, dict[str, Any]]] = [
    (FlowMatchEulerDiscreteScheduler, {}),
    (FlowMatchHeunDiscreteScheduler, {}),
    (DPMSolverMultistepScheduler, {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
    (UniPCMultistepScheduler, {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
]
EPSILON = {"prediction_type": "epsilon"}
SOLVERS = [(tiny.stable_diffusion, kind, EPSILON | {"skip_prk_steps": True}) for kind in DIFFUSION]
SOLVERS += [(tiny.stable_diffusion_3, kind, options) for kind, options in FLOWS]
PNDM_V = (tiny.stable_diffusion, PNDMScheduler, {"skip_prk_steps": True})  # its x0_hat is computed here


def with_solver(make: Callable[[], Any], kind: Any, options: dict[str, Any]) -> Any:
    pipe = tiny.random_pipeline(make)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    return pipe


@pytest.mark.parametrize(("make", "kind", "options"), SOLVERS, ids=tiny.name)
def test_each_solver_is_guided(make: Callable[[], Any], kind: Any, options: dict[str, Any]):
    assert_guided(with_solver(make, kind, options), make, steps=4)


def test_every_solver_that_is_known_is_tested():
    assert {kind for _, kind, _ in SOLVERS} | {SCMScheduler} == set(KNOWN)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [tiny.stable_diffusion_xl, tiny.flux, *FEW_STEPS], ids=tiny.name)
def test_schedules_of_a_few_steps(make: Callable[[], Any], steps: int):
    """As distilled pipelines have; a single step is guided, too."""
    pipe = tiny.random_pipeline(make)
    if make is tiny.stable_diffusion_xl:
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    assert_guided(pipe, make, steps=steps)


def assert_seen(pipe: Any, make: Callable[[], Any], size: tuple[int, int] = (32, 32)) -> None:
    """After a single step x0_hat is the image, so that the classifier sees what the pipeline draws."""
    seen: list[Tensor] = []
    if "set_alpha_to_one" in pipe.scheduler.config:  # else some noise would remain
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, set_alpha_to_one=True)
    plain = draw(pipe, make, steps=1, size=size)
    dp_real.guide(pipe, lambda x: (seen.append(x.detach()), x.flatten(1)[:, :3])[1], 0.01)
    draw(pipe, make, steps=1, size=size)
    assert plain.std() > 0.05
    torch.testing.assert_close(seen[-1][:N].clamp(-1, 1), plain, atol=1e-4, rtol=0)  # DiT has its rows twice


@pytest.mark.parametrize("make", FAMILIES, ids=tiny.name)
def test_the_classifier_sees_what_each_family_draws(make: Callable[[], Any]):
    assert_seen(tiny.random_pipeline(make), make)


@pytest.mark.parametrize(("make", "kind", "options"), [*SOLVERS, PNDM_V], ids=tiny.name)
def test_the_classifier_sees_what_each_solver_draws(make: Callable[[], Any], kind: Any, options: dict[str, Any]):
    assert_seen(with_solver(make, kind, options), make)


@pytest.mark.parametrize("make", [tiny.stable_diffusion, tiny.flux, tiny.qwen_image], ids=tiny.name)
def test_sizes_and_several_images_a_prompt_as_ever(make: Callable[[], Any]):
    """Packed latents do not tell the image's shape."""
    assert_seen(tiny.random_pipeline(make), make, size=(32, 64))
    pipe = dp_real.guide(tiny.random_pipeline(make), lambda x: x.flatten(1)[:, :3], 0.1)
    call: dict[str, Any] = {"num_inference_steps": 2, "height": 64, "width": 32, "num_images_per_prompt": 2}
    images = pipe("a hen", **call, **({"max_sequence_length": 16} if make is tiny.flux else {})).images
    assert [image.size for image in images] == [(32, 64)] * 2  # of Pillow: width, height


@pytest.mark.parametrize("options", [{}, {"every": 3}, {"window": (0.2, 0.7)}], ids=str)
def test_it_is_the_guidance_of_the_sampler_here(options: dict[str, Any]):
    pipe = tiny.random_pipeline(tiny.stable_diffusion)
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
    guidance = EntropyGuidance(lambda x: x.flatten(1)[:, :3], omega, through="x0")
    guide_steps(scheduler, guidance, lambda x0_hat: x0_hat)
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
    pipe = tiny.random_pipeline(tiny.stable_diffusion)
    before = dict(vars(pipe)), dict(vars(pipe.scheduler))
    dp_real.guide(pipe, "no/such-classifier", omega=0)
    assert (dict(vars(pipe)), dict(vars(pipe.scheduler))) == before


def test_guided_anew_the_former_guidance_is_gone():
    pipe = tiny.random_pipeline(tiny.stable_diffusion)
    classifier = tiny.classifier_of(draw(pipe, tiny.stable_diffusion))
    once = draw(dp_real.guide(pipe, classifier, 0.1), tiny.stable_diffusion)
    dp_real.guide(pipe, lambda x: x.flatten(1)[:, :3], 0.3)
    assert torch.equal(draw(dp_real.guide(pipe, classifier, 0.1), tiny.stable_diffusion), once)


def test_a_copy_of_a_guided_scheduler_is_guided_itself():
    """Some pipelines copy theirs; a step of the copy must not be one of the original."""
    pipe = tiny.random_pipeline(tiny.stable_diffusion_xl)
    dp_real.guide(pipe, lambda x: x.flatten(1)[:, :3], 0.1)
    copied = copy.deepcopy(pipe.scheduler)
    copied.set_timesteps(3)
    copied.step(torch.ones(1, 4, 8, 8), copied.timesteps[0], torch.ones(1, 4, 8, 8))
    assert (copied.step_index, pipe.scheduler.step_index) == (1, None)


def test_it_also_works_in_inference_mode():
    pipe = tiny.random_pipeline(tiny.stable_diffusion)
    dp_real.guide(pipe, tiny.classifier_of(draw(pipe, tiny.stable_diffusion)), 0.1)
    expected = draw(pipe, tiny.stable_diffusion)
    with torch.inference_mode():
        assert torch.equal(draw(pipe, tiny.stable_diffusion), expected)


def test_a_tiny_decoder_may_guide():
    pipe = tiny.random_pipeline(tiny.stable_diffusion)
    torch.manual_seed(3)
    channels = (4, 4, 4)
    decoder = AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    seen: list[Tensor] = []

    def classifier(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)[:, :3]

    dp_real.guide(pipe, classifier, 0.1, decoder=decoder)
    plain = draw(pipe, tiny.stable_diffusion)
    assert len(seen) == 4  # once to see that it reads float32, and not at the last step
    assert not torch.equal(draw(dp_real.unguide(pipe), tiny.stable_diffusion), plain)
    assert seen[1].shape == (N, 3, 32, 32)


def test_a_decoder_that_overflows_in_half_precision_is_copied():
    pipe = tiny.random_pipeline(tiny.stable_diffusion_xl).to(dtype=torch.float16)
    dtypes: list[torch.dtype] = []

    def classifier(x: Tensor) -> Tensor:
        dtypes.append(x.dtype)
        return x.flatten(1)[:, :3]

    pipe.vae.register_to_config(force_upcast=True)
    draw(dp_real.guide(pipe, classifier, 0.05), tiny.stable_diffusion_xl)
    assert dtypes == 4 * [torch.float32]
    assert pipe.vae.dtype == torch.float16


def test_latents_are_decoded_as_the_pipeline_does():
    """By mean and deviation of each channel, in families whose decoder has them."""
    for make in (tiny.stable_diffusion_xl, tiny.qwen_image):
        pipe = tiny.random_pipeline(make)
        if make is tiny.stable_diffusion_xl:
            pipe.vae.register_to_config(latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0])
        expected = draw(pipe, make)
        latents = pipe(
            PROMPTS,
            height=32,
            width=32,
            num_inference_steps=4,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
            **FAMILIES[make],
        ).images
        if make is tiny.qwen_image:
            latents = pipe._unpack_latents(latents, 32, 32, pipe.vae_scale_factor)
        with torch.no_grad():
            torch.testing.assert_close(decode(pipe.vae, latents).clamp(-1, 1), expected, atol=1e-5, rtol=0)


def test_what_cannot_be_guided_is_said(tmp_path: Path):
    pipe, other = tiny.random_pipeline(tiny.stable_diffusion), tiny.random_pipeline(tiny.stable_diffusion)
    classifier = tiny.classifier_of(torch.randn(8, 3, 32, 32))
    with pytest.raises(InputError, match="training mode"):
        dp_real.guide(pipe, classifier.train(), 0.1)
    classifier.eval()
    for scheduler, message in (
        (DEISMultistepScheduler(), "DEISMultistepScheduler cannot be guided; these can: DDIMScheduler, "),
        (UniPCMultistepScheduler(predict_x0=False), "set to predict noise"),
        (PNDMScheduler(), "skip_prk_steps"),
    ):
        other.scheduler = scheduler
        with pytest.raises(InputError, match=message):
            dp_real.guide(other, classifier, 0.1)
    dp_real.guide(pipe, classifier, 0.1)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(InputError, match="another scheduler"):
        draw(pipe, tiny.stable_diffusion)
    draw(dp_real.unguide(pipe), tiny.stable_diffusion)
    pipe.vae = nn.Identity()
    with pytest.raises(InputError, match="latents of Identity"):
        dp_real.guide(pipe, classifier, 0.1)
    for options in ({"through": "unet"}, {"scale": "raw"}):
        guidance = EntropyGuidance(classifier, 0.1, **{"through": "x0", **options})
        with pytest.raises(InputError, match="through = 'x0'"):
            guide_steps(DDIMScheduler(), guidance, lambda x: x)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a tiny pipeline and a tiny classifier in the places of the published ones."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "dp_real.guide" in code)
    tiny.random_pipeline(tiny.stable_diffusion_xl).save_pretrained(tmp_path / "pipeline")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    sizes |= {"image_size": 32, "patch_size": 8, "num_labels": 3}
    vit = ViTForImageClassification(ViTConfig(**sizes))
    vit.save_pretrained(tmp_path / "classifier")
    processor = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "classifier" / "preprocessor_config.json").write_text(json.dumps(processor))
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


@pytest.mark.parametrize(
    "options", [{"omega": float("nan")}, {"every": 0}, {"window": (0.7, 0.2)}, {"window": (3.0, 5.0)}]
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]):
    with pytest.raises(InputError, match="should be"):
        dp_real.guide(tiny.stable_diffusion(), lambda x: x.flatten(1), **options)


def test_a_window_without_a_step_is_said(caplog: pytest.LogCaptureFixture):
    pipe = dp_real.guide(tiny.stable_diffusion(), tiny.classifier_of(torch.rand(4, 3, 32, 32)), window=(0.8, 1.0))
    pipe(PROMPTS, num_inference_steps=4, output_type="pt")
    assert caplog.text.count("none of the 4 steps lies in window = (0.8, 1.0): the images are plain") == 1
