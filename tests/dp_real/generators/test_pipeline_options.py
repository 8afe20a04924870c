"""Real images to begin with, and LoRAs: the images are those of diffusers' own pipelines with the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

from dp_base.errors import InputError, MissingError
from dp_real.examples import Examples
from dp_real.generators.pipelines.generator import PipelineGenerator
from dp_real.generators.pipelines.latents import encode
from dp_real.generators.pipelines.loading import add_lora
from dp_real.plan import needs
from dp_real.runs.identity import uses_training_examples
from dp_real.runs.prepare import load_generator
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators.tiny_pipelines import (
    CLASSES,
    PROMPTS,
    STEPS,
    config_of,
    dit,
    random_pipeline,
    with_sana,
)

LATENTS = row_noise(row_seeds(0, 0, range(3)), (4, 8, 8))


def test_real_images_are_noised_as_in_the_pipeline_for_them():
    pipe = random_pipeline()
    model = LatentDiffusion(pipe, STEPS, 3.0, strength=0.5)
    noise = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(7))
    real = torch.rand(3, 1, 40, 40) * 2 - 1  # grey, and of another size
    theirs = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    drawn: Any = theirs(
        PROMPTS,
        image=encode(pipe.vae, fit(real.expand(-1, 3, -1, -1), (3, *model.image_size))),
        strength=0.5,
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    )
    images = model.sample(PROMPTS, noise, real=real)
    torch.testing.assert_close(images, 2 * drawn.images - 1, atol=2e-4, rtol=0)
    assert (images - LatentDiffusion(pipe, STEPS, 3.0).sample(PROMPTS, noise)).abs().max() > 1e-2


def write_greys(folder: Path) -> Path:
    """Three training images of each class, each of one grey."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (32, 32), (60 * label + 20 * index,) * 3).save(folder / name / f"{index}.png")
    return folder


def test_a_row_begins_with_a_real_image_of_its_class(saved: Path, tmp_path: Path):
    data = {"train": str(write_greys(tmp_path / "train")), "validation": str(tmp_path / "train")}
    config = config_of(saved / "pipe", data, strength=0.2)
    generator = load_generator(config)
    assert isinstance(generator, PipelineGenerator)
    labels = torch.arange(3).repeat_interleave(8)
    seeds = row_seeds(0, 0, range(len(labels)))
    real = generator.beginnings(labels, seeds)
    assert real is not None
    grey = real[:, 0, 0, 0].add(1).mul(127.5).round()
    assert (grey // 60).tolist() == labels.tolist()
    assert len(grey.unique()) > 6  # not always the same one
    images = generator.sample(labels, seeds, None)
    torch.testing.assert_close(images[5:7], generator.sample(labels[5:7], seeds[5:7], None), atol=1e-4, rtol=0)
    assert uses_training_examples(config)
    assert not uses_training_examples(config_of(saved / "pipe", data))


def test_beginning_with_real_images_has_its_price_and_its_limits(saved: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"data.train must name them"):
        config_of(saved / "pipe", strength=0.5)
    train = {"train": str(tmp_path)}
    with pytest.raises(InputError, match=r"generator.strength = 0.1: none of 6 steps is left; 0.166667 leaves one"):
        config_of(saved / "pipe", train, strength=0.1)
    config = config_of(saved / "pipe", train, strength=0.5)
    whole = config_of(saved / "pipe")
    assert config.forwards == whole.forwards / 2
    assert config.guided_steps == [index for index in whole.guided_steps if index >= 3] != whole.guided_steps
    pipe = random_pipeline()
    pipe.vae = with_sana()["vae"]
    with pytest.raises(InputError, match=r"generator.strength: AutoencoderDC is no AutoencoderKL"):
        LatentDiffusion(pipe, STEPS, 3.0, strength=0.5)
    with pytest.raises(InputError, match=r"some class has no image among data.train"):
        PipelineGenerator(
            load(saved).model, [["a"], ["b"]], (3, 32, 32), Examples(torch.zeros(1, 3, 8, 8), torch.zeros(1))
        )


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
    pipe = random_pipeline()
    torch.manual_seed(1)
    write_lora(pipe, folder / "lora")
    random_pipeline().save_pretrained(folder / "pipe")
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
    torch.testing.assert_close(images, plain.sample(PROMPTS, LATENTS), atol=2e-4, rtol=0)


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
    monkeypatch.setattr("dp_base.imports.find_spec", lambda package: None)
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
