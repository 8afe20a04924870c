"""The text-conditioned latent path, on a complete Stable Diffusion with random weights and 8 x 8 latents."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification

import dp_real.generators.models.stable_diffusion
from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
from dp_real.config import Config, parse_config
from dp_real.examples import Examples, RealData, Task
from dp_real.generators import class_prompts
from dp_real.generators.models.stable_diffusion import (
    make_pipeline,
    train_autoencoder,
    train_pipeline,
)
from dp_real.generators.pipelines.generator import PipelineGenerator, sample_images
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.generators.pipelines.loading import load_autoencoder, load_pipeline
from dp_real.generators.trained import TrainingSteps
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.learners.models.classifier import Classifier
from dp_real.protocols import Generator, Learner
from dp_real.runtime import resumable
from dp_real.runtime.cache import UNFINISHED, cache_folder
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.generators import tiny_pipelines as tiny

TASK = Task((1, 32, 32), ("coat", "dress", "bag"))
PROMPTS = class_prompts(("a photo of a {}", "{}"), TASK.classes)
STEPS = 6


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny.random_pipeline(lambda: make_pipeline(32, [prompt for prompts in PROMPTS for prompt in prompts]))


def spread(last: nn.Linear, logits: Tensor) -> None:
    """Rescale a random classifier's last layer so that it is sure of some of these images and not of others."""
    with torch.no_grad():
        scale = 2 / logits.std(0)
        last.weight *= scale.unsqueeze(1)
        last.bias.sub_(logits.mean(0)).mul_(scale)


@pytest.fixture(scope="module")
def classifier(pipe: Any) -> nn.Module:
    torch.manual_seed(1)
    last = nn.Linear(512, 3)
    network = nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), nn.Tanh(), nn.Flatten(), last).requires_grad_(False)
    spread(last, network(draw(make_generator(pipe), None, 24)))
    return network.eval()


def make_generator(pipe: Any, guidance_scale: float = 2.0, **options: Any) -> PipelineGenerator:
    return PipelineGenerator(LatentDiffusion(pipe, STEPS, guidance_scale, **options), PROMPTS, (1, 28, 28))


def draw(generator: PipelineGenerator, guidance: EntropyGuidance | None, n: int = 12) -> Tensor:
    return generator.sample(torch.arange(n) % 3, row_seeds(0, 0, range(n)), guidance)


def test_a_rows_seed_picks_its_prompt_and_a_prompt_is_encoded_once_and_alone(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    encode = pipe.encode_prompt
    monkeypatch.setattr(pipe, "encode_prompt", lambda text, *rest: asked.append(text) or encode(text, *rest))
    generator = make_generator(pipe)
    first = draw(generator, None)
    assert sorted(asked) == sorted(["", *(prompt for prompts in PROMPTS for prompt in prompts)])
    assert torch.equal(draw(generator, None), first)
    assert len(asked) == 7


def tiny_decoder() -> AutoencoderTiny:
    torch.manual_seed(2)
    channels: Any = (8, 8, 8)
    return AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        upsampling_scaling_factor=2,
    )


def test_a_tiny_decoder_decodes_for_the_guidance_only(
    pipe: Any, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
):
    small = tiny_decoder()
    calls: list[torch.Size] = []
    decode = small.decode
    monkeypatch.setattr(small, "decode", lambda x, **options: calls.append(x.shape) or decode(x, **options))
    generator = make_generator(pipe, tiny_decoder=small)
    assert torch.equal(draw(generator, None), draw(make_generator(pipe), None))
    assert not calls
    draw(generator, EntropyGuidance(classifier, 0.05, through="x0", every=2))
    assert len(calls) == 3


def test_five_lines_with_any_pipeline_and_any_transformers_classifier(pipe: Any):
    torch.manual_seed(3)
    settings: dict[str, Any] = {"image_size": 24, "patch_size": 8, "num_labels": 5, "hidden_size": 16}
    settings |= {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    vit: Any = ViTForImageClassification(ViTConfig(**settings))
    prompts = ["a photo of a coat", "bag"] * 4
    logits = Classifier(vit, size=24, mean=[0.5, 0.4, 0.3], std=[0.2] * 3).eval()
    spread(vit.classifier, logits(sample_images(pipe, prompts, steps=STEPS)).detach())

    guidance = EntropyGuidance(logits, omega=0.01, through="x0")
    images = sample_images(pipe, prompts, guidance, steps=STEPS)
    plain = sample_images(pipe, prompts, steps=STEPS)

    assert images.shape == (8, 3, 32, 32)
    assert (entropy(logits(images)) - entropy(logits(plain))).mean() > 0.02
    pixels = nn.functional.interpolate((plain + 1) / 2, (24, 24), mode="bilinear", antialias=True)
    by_hand = vit(pixel_values=(pixels - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / 0.2).logits
    torch.testing.assert_close(logits(plain), by_hand)
    torch.testing.assert_close(sample_images(pipe, prompts[:1], steps=STEPS), plain[:1], atol=1e-4, rtol=0)


# loading


def config_of(generator: dict[str, Any]) -> Config:
    return parse_config(
        {
            "name": "latent",
            "data": {"source": "fashion"},
            "generator": generator,
            "sampling": {"steps": STEPS, "guidance_scale": 2.0},
            "learner": {"kind": "conv", "widths": [4, 8], "hidden": 16},
            "training": {"steps": 10},
            "practice": {"initial": 10},
        }
    )


def load_generator(config: Config, real: RealData) -> Generator:
    """Load for a source whose task is TASK, in place of the ten classes of `fashion`."""
    source: Any = SimpleNamespace(source="fashion", split=0, task=TASK)
    return config.generator.load(config.sampling, source, real)


def fresh_learner(config: Config, task: Task = TASK) -> Learner:
    return config.learner.fresh(task, config.training, config.seed)


@pytest.fixture(scope="module")
def real() -> Any:
    """Thirty images: three classes, each a bright stripe at another height, under noise."""
    draw, y = torch.Generator().manual_seed(0), torch.arange(30) % 3
    x = 0.3 * torch.randn(30, 1, 32, 32, generator=draw) - 0.5
    for row, label in enumerate(y.tolist()):
        x[row, :, 8 + 8 * label : 12 + 8 * label] += 1.2
    images = Examples(x.clamp(-1, 1), y)
    return RealData(TASK, images, images, images)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*address: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_a_saved_pipeline_is_a_generator(pipe: Any, real: Any, tmp_path: Path):
    pipe.save_pretrained(tmp_path / "sd")
    config = config_of({"kind": "diffusers", "model": str(tmp_path / "sd"), "prompts": ["a photo of a {}", "{}"]})
    generator = load_generator(config, real)
    assert (generator.n_classes, generator.sample_shape) == (3, (1, 32, 32))
    labels, seeds = torch.arange(3), row_seeds(0, 0, range(3))
    expected = PipelineGenerator(LatentDiffusion(pipe, STEPS, 2.0), PROMPTS, (1, 32, 32))
    assert torch.equal(generator.sample(labels, seeds, None), expected.sample(labels, seeds, None))

    low = config.model_copy(update={"generator": config.generator.model_copy(update={"dtype": "bfloat16"})})
    rough = load_generator(low, real).sample(labels, seeds, EntropyGuidance(fresh_learner(low).logits, 0.1))
    assert rough.dtype == torch.float32
    assert rough.isfinite().all()

    tiny_decoder().save_pretrained(tmp_path / "tiny")
    options = config.generator.model_dump() | {"tiny_decoder": str(tmp_path / "tiny")}
    guidance = EntropyGuidance(fresh_learner(config).logits, 0.1)
    guided = [
        load_generator(config_of(options | {"decoder": decoder}), real).sample(labels, seeds, guidance)
        for decoder in ("full", "tiny")
    ]
    assert torch.equal(guided[0], generator.sample(labels, seeds, guidance))
    assert not guided[1].allclose(guided[0], atol=1e-2)
    with pytest.raises(InputError, match="needs tiny_decoder"):
        config_of(options | {"decoder": "tiny", "tiny_decoder": None})


@pytest.mark.usefixtures("no_network")
def test_missing_weights_say_what_to_put_where(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MissingError, match="no such folder"):
        load_pipeline(str(tmp_path / "absent"))
    with pytest.raises(MissingError, match="no such folder"):
        load_pipeline("./absent")
    pipe.save_pretrained(tmp_path / "sd")
    weights = tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))  # a pickle would be refused, too
    with pytest.raises(MissingError, match="with safetensors"):
        load_pipeline(str(tmp_path / "sd"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="hf download nobody/no-such-model") as caught:
        load_pipeline("nobody/no-such-model")
    assert caught.value.exit_status == 3


# training


SMALL = {"kind": "latent", "prompts": ["a photo of a {}", "{}"], "training": "light"}


@pytest.fixture
def efforts(monkeypatch: pytest.MonkeyPatch) -> dict[str, TrainingSteps]:
    """Of a few steps, which a test may change."""
    found = {"light": TrainingSteps(30, 16, 3, 16)}
    monkeypatch.setattr("dp_real.generators.trained.EFFORTS", found)
    return found


@pytest.mark.usefixtures("no_network")
def test_a_pipeline_trained_here_is_kept(real: Any, monkeypatch: pytest.MonkeyPatch, efforts: dict[str, TrainingSteps]):
    config = config_of(SMALL)
    labels, seeds = torch.arange(6) % 3, row_seeds(0, 0, range(6))
    generator: Any = load_generator(config, real)
    x = generator.sample(labels, seeds, None)
    assert x.shape == (6, 1, 32, 32)
    vae = generator.model.pipe.vae
    with torch.no_grad():
        latents = vae.encode(real.validation.x.expand(-1, 3, -1, -1), return_dict=False)[0].mode()
    assert vae.config.scaling_factor == pytest.approx(1 / latents.std().item(), rel=1e-5)

    models = dp_real.generators.models.stable_diffusion
    monkeypatch.setattr(models, "train_autoencoder", None)  # not called again: the VAE is in the cache
    assert torch.equal(load_generator(config, real).sample(labels, seeds, None), x)
    other: Any = load_generator(config_of({**SMALL, "prompts": ["a {}"]}), real)
    assert torch.equal(other.model.pipe.vae.decoder.conv_in.weight, vae.decoder.conv_in.weight)
    efforts["full"] = efforts["light"]
    with pytest.raises(TypeError):
        load_generator(config_of({**SMALL, "training": "full"}), real)
    monkeypatch.setattr(models, "train_pipeline", None)
    assert torch.equal(load_generator(config, real).sample(labels, seeds, None), x)
    assert not list(cache_folder().rglob(f"*{UNFINISHED}*"))


@pytest.mark.slow
def test_it_learns_what_the_prompts_mean(real: Any, efforts: dict[str, TrainingSteps]):
    """Images of a class are nearer to its mean than to another's."""
    efforts["light"] = TrainingSteps(400, 16, 600, 16)
    x = load_generator(config_of(SMALL), real).sample(torch.arange(30) % 3, row_seeds(0, 0, range(30)), None)
    means = torch.stack([real.validation.x[real.validation.y == label].mean(0) for label in range(3)])
    nearest = torch.cdist(x.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == torch.arange(30) % 3).double().mean() > 0.9


def train(real: Any, folder: Path, seed: int = 0, progress: Progress = silent, keep: bool = False) -> Any:
    """A pipeline, trained for a few steps. keep: so that it can go on after a kill."""
    unfinished = [folder / name if keep else None for name in ("vae.unfinished", "unet.unfinished")]
    if not (folder / "vae").exists():
        train_autoencoder(real.validation.x, 6, 16, seed, progress, folder / "vae", unfinished[0])
    vae = load_autoencoder(str(folder / "vae"))
    train_pipeline(real.validation, PROMPTS, vae, 6, 16, seed, progress, folder / "unet", unfinished[1])
    return load_pipeline(str(folder / "unet"))


def test_training_is_a_function_of_its_seed(real: Any, tmp_path: Path):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(ord(name))  # what was drawn before does not matter
        pipe = train(real, tmp_path / name, seed)
        weights.append([part.state_dict() for part in (pipe.unet, pipe.vae, pipe.text_encoder)])
    for first, same, other in zip(*weights, strict=True):
        assert all(torch.equal(first[name], same[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)


class Killed(BaseException):
    """Stands for a kill."""


@contextmanager
def kills(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A Progress that ends each training in its fifth step, unless it began later."""
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if steps and done == 5:
            raise Killed

    yield advance


def test_a_killed_training_goes_on_and_ends_as_the_unbroken_one(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed in the VAE's fifth step, in the UNet's fifth, and not any more; the state is kept every other step."""
    monkeypatch.setattr(resumable, "EVERY", 2)
    monkeypatch.setattr(dp_real.generators.models.stable_diffusion, "ENCODED_EVERY", 2)
    unbroken = train(real, tmp_path / "unbroken")
    begins: list[int] = []
    restore = resumable.Resumable.restore
    monkeypatch.setattr(resumable.Resumable, "restore", lambda self: begins.append(restore(self)) or begins[-1])
    for _ in range(2):
        with pytest.raises(Killed):
            train(real, tmp_path / "broken", progress=kills if len(begins) < 1 else only_unet, keep=True)
    pipe = train(real, tmp_path / "broken", keep=True)
    assert begins == [0, 4, 0, 4]
    for part in ("unet", "vae", "text_encoder"):
        whole, resumed = (getattr(each, part).state_dict() for each in (unbroken, pipe))
        assert all(torch.equal(whole[name], resumed[name]) for name in whole), part


@contextmanager
def only_unet(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """The same, in the UNet's training only."""
    with (kills if "UNet" in description else silent)(description, total) as advance:
        yield advance


def test_what_it_cannot_be_trained_on(real: Any):
    vectors = RealData(TASK, None, real.validation, real.test)
    with pytest.raises(InputError, match="trained on real examples"):
        load_generator(config_of(SMALL), vectors)


def test_the_conv_learner(real: Any):
    config = config_of(SMALL)
    learner = fresh_learner(config)
    assert learner.logits(real.test.x).shape == (30, 3)
    assert torch.equal(learner.logits(real.test.x), fresh_learner(config).logits(real.test.x))
    with pytest.raises(InputError, match=r"takes images.*\[64\]"):
        fresh_learner(config, Task((64,), TASK.classes))
