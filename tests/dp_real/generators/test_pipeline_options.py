"""Negative prompts, rescaled guidance and LoRAs: the images are those of diffusers' own pipelines with the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_real.estimate import needs
from dp_real.generators.pipelines.generator import PipelineGenerator
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.generators.pipelines.loading import add_lora
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators.tiny_pipelines import (
    PROMPTS,
    STEPS,
    config_of,
    dit,
    pixart,
    random_pipeline,
    sana,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
)

NEGATIVE = "a photo of a hen"
LATENTS = row_noise(row_seeds(0, 0, range(3)), (4, 8, 8))
RESCALED: dict[str, Any] = {"negative_prompt": NEGATIVE, "guidance_rescale": 0.7}


def theirs(pipe: Any, guidance_scale: float, **options: Any) -> Tensor:
    """What diffusers' own loop makes of these latents, by the solver that is used here."""
    if isinstance(pipe.scheduler, EulerDiscreteScheduler):  # the same schedule, another solver
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    if "negative_prompt" in options:
        options["negative_prompt"] = [options["negative_prompt"]] * len(PROMPTS)
    drawn = pipe(
        PROMPTS,
        latents=LATENTS,
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        output_type="pt",
        **options,
    )
    return 2 * drawn.images - 1


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (stable_diffusion, RESCALED),
        (stable_diffusion_xl, RESCALED),
        (stable_diffusion_3, {"negative_prompt": NEGATIVE}),
    ],
)
def test_what_images_are_to_be_unlike_is_as_in_the_pipeline(make: Callable[[], Any], options: dict[str, Any]):
    pipe = random_pipeline(make)
    images = LatentDiffusion(pipe, STEPS, 3.0, **options).sample(PROMPTS, LATENTS)
    plain = LatentDiffusion(pipe, STEPS, 3.0).sample(PROMPTS, LATENTS)
    assert (images - plain).abs().max() > 1e-2
    torch.testing.assert_close(images, theirs(pipe, 3.0, **options), atol=2e-4, rtol=0)


@pytest.mark.parametrize("make", [sana, pixart])
def test_transformers_are_told_it_too(make: Callable[[], Any]):
    pipe = random_pipeline(make)
    noise = row_noise(row_seeds(0, 0, range(3)), LatentDiffusion(pipe, STEPS, 3.0).latent_shape)
    images = [
        LatentDiffusion(pipe, STEPS, 3.0, negative_prompt=prompt).sample(PROMPTS, noise) for prompt in ("", NEGATIVE)
    ]
    assert (images[0] - images[1]).abs().max() > 1e-3


def write_lora(pipe: Any, folder: Path) -> None:
    """A LoRA of the denoiser with random weights, as diffusers writes them."""
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=names, init_lora_weights=False))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    pipe.save_lora_weights(folder, unet_lora_layers=layers)
    pipe.unet.delete_adapters(["default"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline, and beside it that of its LoRA."""
    folder = tmp_path_factory.mktemp("lora")
    pipe = random_pipeline(stable_diffusion)
    torch.manual_seed(1)
    write_lora(pipe, folder / "lora")
    random_pipeline(stable_diffusion).save_pretrained(folder / "pipe")
    return folder


def load(saved: Path, **options: Any) -> PipelineGenerator:
    config = config_of(saved / "pipe", **options)
    generator = load_generator(config)
    assert isinstance(generator, PipelineGenerator)
    return generator


def test_a_lora_is_that_of_the_pipeline(saved: Path):
    model = load(saved, lora=str(saved / "lora")).model
    assert not hasattr(model.network, "peft_config")  # it is in the weights, and costs nothing
    images = model.sample(PROMPTS, LATENTS)
    plain = load(saved).model
    assert (images - plain.sample(PROMPTS, LATENTS)).abs().max() > 1e-2
    plain.pipe.load_lora_weights(saved / "lora")
    plain.pipe.set_progress_bar_config(disable=True)
    torch.testing.assert_close(images, theirs(plain.pipe, 2.0), atol=2e-4, rtol=0)


def test_a_lora_that_does_not_fit_is_named(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MissingError, match=r"must hold one LoRA.* there are: none"):
        load(saved, lora=str(tmp_path))
    lora = "generator.lora: .*a.safetensors is no LoRA for StableDiffusionPipeline: "
    for tensors, problem in (
        ({"unet.conv_in.weight": torch.ones(2)}, lora),
        ({"unet.nothing.to_q.lora_A.weight": torch.ones(2, 4)}, lora),
        ({"transformer.to_q.lora_A.weight": torch.ones(2, 4)}, f"{lora}no weight is for a part of it"),
    ):
        save_file(tensors, tmp_path / "a.safetensors")
        with pytest.raises(InputError, match=problem):
            load(saved, lora=str(tmp_path))
    monkeypatch.setattr("dp_base.extras.find_spec", lambda package: None)
    with pytest.raises(MissingError, match=r"generator.lora needs peft: pip install .*\[lora\]"):
        load(saved, lora=str(saved / "lora"))


def test_a_plan_names_what_a_lora_needs(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def found(folder: Path) -> dict[str, str | None]:
        config = config_of(saved / "pipe", lora=str(folder))
        return {need.what: need.problem for need in needs.needs(config, tmp_path)}

    assert found(saved / "lora")["generator.lora"] is None
    assert "has 0 files of safetensors; it must hold one" in (found(tmp_path)["generator.lora"] or "")
    assert found(saved / "lora")["package"] is None
    monkeypatch.setattr("dp_real.generators.diffusers.find_spec", lambda package: None)
    assert "generator.lora needs peft" in (found(saved / "lora")["package"] or "")


@pytest.mark.parametrize(("key", "value"), [("negative_prompt", "blurry"), ("guidance_rescale", 0.5)])
def test_keys_of_classifier_free_guidance_need_it(key: str, value: Any):
    config = config_of(Path("pipe"), **{key: value})
    with pytest.raises(ValueError, match=rf"generator\.{key} is for classifier-free guidance"):
        type(config).model_validate(config.model_dump() | {"sampling": {"guidance_scale": 1.0}})


def test_a_pipeline_of_class_numbers_takes_no_prompt(tmp_path: Path):
    random_pipeline(dit).save_pretrained(tmp_path / "dit")
    with pytest.raises(InputError, match=r"is asked for class numbers: leave generator\.negative_prompt out"):
        load_generator(config_of(tmp_path / "dit", negative_prompt="blurry"))
    with pytest.raises(InputError, match=r"generator\.lora: DiTPipeline takes none"):
        add_lora(random_pipeline(dit), str(tmp_path))
