"""Each kind of pipeline at small size with random weights: what it draws, how guidance moves it, how it is loaded."""

import copy
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.data.image_folder import FolderConfig
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.generators import class_prompts
from dp_real.generators.pipelines.generator import PipelineGenerator, class_numbers, sample_images
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.generators.pipelines.loading import load_pipeline
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, entropy
from dp_real.protocols import Generator
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators.tiny_pipelines import (
    PROMPTS,
    SD1,
    STEPS,
    config_of,
    dit,
    random_pipeline,
    stable_diffusion,
    stable_diffusion_xl,
)

MAKERS: dict[str, Callable[[], Any]] = {"sd": stable_diffusion, "sdxl": stable_diffusion_xl, "dit": dit}


@pytest.fixture(scope="module", params=MAKERS)
def pipe(request: pytest.FixtureRequest) -> Any:
    return random_pipeline(MAKERS[request.param])


def is_dit(pipe: Any) -> bool:
    return isinstance(pipe, DiTPipeline)


def asked(pipe: Any) -> list[Any]:
    return [0, 1, 8] if is_dit(pipe) else PROMPTS


def make_generator(pipe: Any, guidance_scale: float = 2.0, **options: Any) -> PipelineGenerator:
    model = LatentDiffusion(pipe, STEPS, guidance_scale, **options)
    return PipelineGenerator(model, [[one] for one in asked(pipe)], (3, 32, 32))


def draw(generator: Generator, guidance: EntropyGuidance | None, n: int = 12) -> Tensor:
    return generator.sample(torch.arange(n) % 3, row_seeds(0, 0, range(n)), guidance)


def classifier_of(images: Tensor) -> nn.Module:
    """A random classifier, rescaled to be sure of some of these images and not of others."""
    torch.manual_seed(1)
    last = nn.Linear(800, 3)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.Tanh(), nn.Flatten(), last).requires_grad_(False)
    logits = network(images)
    scale = 2 / logits.std(0)
    last.weight *= scale.unsqueeze(1)
    last.bias.sub_(logits.mean(0)).mul_(scale)
    return network.eval()


@pytest.fixture(scope="module")
def classifier(pipe: Any) -> nn.Module:
    return classifier_of(draw(make_generator(pipe), None, 24))


# sampling


def theirs(pipe: Any, noise: Tensor, guidance_scale: float, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What diffusers' own loop makes of this noise."""
    options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": guidance_scale, "output_type": "pt"}
    if is_dit(pipe):
        monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda shape, **rest: noise)
    else:
        options["latents"] = noise
    return 2 * pipe(asked(pipe), **options).images - 1


def scheduled(scheduler: Any) -> Callable[[], Any]:
    """Stable Diffusion with another scheduler."""

    def make() -> Any:
        pipe = stable_diffusion()
        pipe.scheduler = scheduler
        return pipe

    return make


# Stable Diffusion 1's own settings: its scheduler is not DDIM, and DDIM's defaults are not its settings.
MADE: dict[str, Callable[[], Any]] = {
    "sd, v, trailing": stable_diffusion,
    "sd, epsilon, from PNDM": scheduled(PNDMScheduler(**SD1, skip_prk_steps=True)),
    "sd, epsilon, leading": scheduled(DDIMScheduler(**SD1, clip_sample=False)),
    "sdxl": stable_diffusion_xl,
    "sdxl, empty prompt": lambda: stable_diffusion_xl(force_zeros_for_empty_prompt=False),
    "dit": dit,
}


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("name", MADE)
def test_without_guidance_it_is_the_pipelines_own_image(
    name: str, guidance_scale: float, monkeypatch: pytest.MonkeyPatch
):
    pipe = random_pipeline(MADE[name])
    noise = row_noise(row_seeds(0, 0, range(3)), (4, 8, 8))
    images = LatentDiffusion(pipe, STEPS, guidance_scale).sample(asked(pipe), noise)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)  # perhaps another solver
    expected = theirs(pipe, noise, guidance_scale, monkeypatch)
    assert expected.std() > 0.05
    torch.testing.assert_close(images, expected, atol=2e-4, rtol=0)


def test_what_is_asked_for_and_the_guidance_scale_matter(pipe: Any):
    noise = row_noise(row_seeds(0, 0, [0]), (4, 8, 8))
    images = [
        LatentDiffusion(pipe, STEPS, scale).sample(asked(pipe)[at : at + 1], noise)
        for scale, at in ((1, 0), (1, 1), (9, 0))
    ]
    assert min((a - b).abs().max() for a, b in ((images[0], images[1]), (images[0], images[2]))) > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"omega": 0.03, "every": 2},
        {"omega": 0.03, "through": "x0"},
        {"omega": 0.03, "window": (0.3, 0.9)},
        {"omega": 0.1, "scale": "raw"},
        {"omega": 2.0, "scale": "raw", "through": "x0"},
    ],
    ids=str,
)
def test_guided_images_are_harder_than_plain_ones_of_the_same_noise(pipe: Any, classifier: nn.Module, options: dict):
    generator = make_generator(pipe)
    plain = entropy(classifier(draw(generator, None, 24)))

    def change(sign: int) -> float:
        guidance = EntropyGuidance(classifier, **{**options, "omega": sign * options["omega"]})
        return (entropy(classifier(draw(generator, guidance, 24))) - plain).mean().item()

    assert change(+1) > 0.01
    assert change(-1) < -0.01


@pytest.mark.parametrize("scale", ["relative", "raw"])
def test_omega_zero_is_plain_sampling_bit_for_bit(pipe: Any, classifier: nn.Module, scale: Any):
    generator = make_generator(pipe)
    assert torch.equal(draw(generator, None), draw(generator, EntropyGuidance(classifier, 0.0, scale)))


@pytest.mark.parametrize("through", ["unet", "x0"])
def test_a_batch_is_its_rows_one_by_one(pipe: Any, classifier: nn.Module, through: Any):
    guidance = EntropyGuidance(classifier, torch.linspace(0, 0.05, 5), through=through)
    together = draw(make_generator(pipe), guidance, 5)
    torch.testing.assert_close(draw(make_generator(pipe, batch_size=1), guidance, 5), together, atol=1e-3, rtol=0)
    torch.testing.assert_close(draw(make_generator(pipe, batch_size=2), guidance, 5), together, atol=1e-3, rtol=0)


def test_random_directions_do_not_depend_on_the_batch(pipe: Any, classifier: nn.Module):
    def guidance() -> RandomGuidance:
        return RandomGuidance(classifier, 0.1, through="x0", seeds=row_seeds(0, 0, range(5)))

    together = draw(make_generator(pipe), guidance(), 5)
    assert (together - draw(make_generator(pipe), None, 5)).abs().amax((1, 2, 3)).min() > 1e-2
    torch.testing.assert_close(draw(make_generator(pipe, batch_size=2), guidance(), 5), together, atol=1e-3, rtol=0)


def test_sample_images_takes_any_of_them(pipe: Any):
    images = sample_images(pipe, asked(pipe), steps=2, guidance_scale=2.0)
    assert images.shape == (3, 3, 32, 32)
    assert images.abs().max() <= 1


# loading


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*address: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def save(pipe: Any, folder: Path) -> None:
    """As on the hub, where a DiT's index has the names of its classes, which save_pretrained forgets."""
    pipe.save_pretrained(folder)
    if isinstance(pipe, DiTPipeline):
        reindex(folder, id2label={"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", "8": "hen"})


def reindex(folder: Path, **entries: Any) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | entries))


@pytest.mark.usefixtures("no_network")
def test_a_saved_pipeline_is_a_generator_by_its_own_index(pipe: Any, classifier: nn.Module, tmp_path: Path):
    save(pipe, tmp_path)
    generator = load_generator(config_of(tmp_path))
    assert (generator.n_classes, generator.sample_shape) == (3, (3, 32, 32))
    guidance = EntropyGuidance(classifier, 0.01)
    expected: Any = make_generator(pipe)
    for guide in (None, guidance):
        ours = generator.sample(torch.arange(3), row_seeds(0, 0, range(3)), guide)
        assert torch.equal(ours, draw(expected, guide, 3))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_the_gradient_is_float32_and_does_not_vanish(
    pipe: Any, classifier: nn.Module, tmp_path: Path, dtype: str
):
    """Even if the learner is so sure that the gradient of its entropy is too small for the pipeline's dtype."""

    def sure(x: Tensor) -> Tensor:
        return classifier(x) + torch.tensor([30.0, 0, 0])

    pipe.save_pretrained(tmp_path)
    low = load_pipeline(str(tmp_path), dtype)
    gradients: dict[str, Tensor] = {}

    class Noting(EntropyGuidance):
        def gradient(self, x0_hat: Tensor, x: Tensor) -> Tensor:
            gradients[dtype] = super().gradient(x0_hat, x)
            return gradients[dtype]

    plain, hard = (draw(make_generator(low), guide, 4) for guide in (None, Noting(sure, 0.05, every=STEPS)))
    noted = gradients[dtype]
    assert noted.dtype == torch.float32
    assert noted.isfinite().all()
    assert noted.abs().amax((1, 2, 3)).min() > 0
    assert noted.abs().max() < 6e-8  # float16's smallest number
    draw(make_generator(pipe), Noting(sure, 0.05, every=STEPS), 4)
    units = [nn.functional.normalize(gradient.flatten(1), eps=1e-30) for gradient in (noted, gradients[dtype])]
    assert (units[0] * units[1]).sum(1).min() > (0.999 if dtype == "float16" else 0.99)
    assert (hard - plain).abs().amax((1, 2, 3)).min() > 1e-3


def test_pipelines_and_schedules_that_cannot_be_used(tmp_path: Path):
    pipe = stable_diffusion()
    pipe.save_pretrained(tmp_path)
    reindex(tmp_path, _class_name="LattePipeline")
    with pytest.raises(InputError, match=r"LattePipeline draws films"):
        load_pipeline(str(tmp_path))
    reindex(tmp_path, _class_name="DDPMPipeline")
    with pytest.raises(InputError, match="DDPMPipeline is no pipeline of diffusers that draws images for prompts"):
        load_pipeline(str(tmp_path))
    pipe.scheduler = EDMEulerScheduler()
    with pytest.raises(InputError, match="EDMEulerScheduler"):
        LatentDiffusion(pipe, STEPS, 1.0)


def test_the_safety_checker_is_off_and_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stable_diffusion().save_pretrained(tmp_path)
    load_pipeline(str(tmp_path))
    assert not caplog.messages
    reindex(tmp_path, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert load_pipeline(str(tmp_path)).safety_checker is None
    assert caplog.messages == [f"{tmp_path}: its safety checker is off; it would blacken images"]


def test_a_class_conditional_pipelines_numbers():
    """ImageNet's tasks by their folders' order; own classes by the pipeline's names."""
    hundred = imagenet_classes("imagenet100")
    numbers = class_numbers({}, [entry.name for entry in hundred])
    assert numbers == [[entry.index] for entry in hundred]
    assert (hundred[0].name, numbers[0]) == ("bonnet", [452])  # the first of its list
    names = {"0": "tench, Tinca tinca", "134": "crane", "517": "crane", "638": "maillot", "639": "maillot, tank suit"}
    assert class_numbers(names, ["Tinca tinca", "517", "maillot, tank suit"]) == [[0], [517], [639]]
    with pytest.raises(InputError, match="'crane': 134 and 517 of the pipeline's classes"):
        class_numbers(names, ["tench", "crane"])
    with pytest.raises(InputError, match="'dog': none"):
        class_numbers(names, ["dog"])
    with pytest.raises(InputError, match="1000: this DiT has 1000 classes"):
        sample_images(dit(), [1000], steps=1)


def test_prompts_are_templates_filled_in():
    assert class_prompts(["a {}", "{} by day"], ["hen"]) == [["a hen", "hen by day"]]
    words = [["hen", "cock"], ["a {bird}", ""], ["hen, biddy", ""]]
    assert class_prompts(["{}: {synonyms}"], *words) == [["hen: hen, biddy"], ["cock: cock"]]
    assert class_prompts(["{definition} {}"], *(each[:1] for each in words)) == [["a {bird} hen"]]
    with pytest.raises(InputError, match=r"class 'cock' has no definition; write one in data\.definitions"):
        class_prompts(["{}, {definition}"], *words)


def test_definitions_and_synonyms_of_a_configuration():
    """ImageNet's are WordNet's, unless the configuration says otherwise."""
    raw: dict[str, Any] = {"source": "folder", "validation": "nowhere", "classes": "imagenet100"}
    task = FolderConfig(**raw, definitions={"wing": "of a bird"}).task
    boxer, wing = (task.classes.index(name) for name in ("boxer", "wing"))
    assert "stocky medium-sized short-haired dog" in task.definitions[boxer]
    assert (task.definitions[wing], task.synonyms[boxer]) == ("of a bird", "boxer")
    assert all(task.definitions)
    assert all(task.synonyms)
    own: dict[str, Any] = raw | {"classes": ["hen", "cock"]}
    assert FolderConfig(**own, synonyms={"hen": "hen, biddy"}).task.synonyms == ("hen, biddy", "")
    with pytest.raises(ValueError, match=r"definitions\.crow: 'crow' is none of the classes"):
        FolderConfig(**own, definitions={"crow": "black"})
    with pytest.raises(InputError, match=r"data\.synonyms\.crow: 'crow' is none of the classes"):
        _ = FolderConfig(**raw, synonyms={"crow": "raven"}).task


# memory and speed


def test_out_of_memory_changes_no_sample(pipe: Any, classifier: nn.Module, monkeypatch: pytest.MonkeyPatch):
    """A denoiser that has room for four rows, which classifier-free guidance doubles."""
    guidance = EntropyGuidance(classifier, torch.linspace(0, 0.05, 5))
    expected = draw(make_generator(pipe), guidance, 5)
    generator = make_generator(pipe, batch_size=5)
    model: Any = generator.model
    predict, asked_for = model.predict, []

    def cramped(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        asked_for.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return predict(x, t, condition)

    monkeypatch.setattr(model, "predict", cramped)
    torch.testing.assert_close(draw(generator, guidance, 5), expected, atol=1e-3, rtol=0)
    assert asked_for == [10] + STEPS * [4] + STEPS * [4] + STEPS * [2]


@pytest.mark.parametrize("through", ["unet", "x0"])
def test_saving_memory_changes_no_sample(pipe: Any, classifier: nn.Module, tmp_path: Path, through: Any):
    save(pipe, tmp_path)
    guidance = EntropyGuidance(classifier, 0.05, through=through)
    frugal = config_of(tmp_path, checkpointing=True, offload=True, batch_size=2)
    plain, careful = (load_generator(config) for config in (config_of(tmp_path), frugal))
    torch.testing.assert_close(draw(careful, guidance, 5), draw(plain, guidance, 5), atol=1e-3, rtol=0)
    kept = [activations(generator, guidance) for generator in (plain, careful)]
    assert kept[1] < 0.7 * kept[0]


def activations(generator: Any, guidance: EntropyGuidance) -> int:
    """Bytes that one step keeps for its backward pass."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        draw(generator, replace(guidance, every=STEPS), 2)
    return sum(kept.values())


def test_it_leaves_the_device_between_rounds(pipe: Any, monkeypatch: pytest.MonkeyPatch):
    went: list[str] = []
    monkeypatch.setattr(type(pipe.vae), "to", lambda self, device: went.append(str(device)))
    generator = make_generator(pipe)
    generator.model.device = torch.device("cpu", 0)  # a name for the device that differs from the memory's
    generator.offload()
    draw(generator, None, 3)
    assert not went
    generator.model.offloads = True
    draw(generator, None, 3)
    generator.offload()
    assert went == ["cpu:0", "cpu"]


@pytest.mark.slow
def test_what_is_compiled_serves_every_batch(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Denoiser and decoder have a graph each for plain and for guided steps, however large the batch becomes."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", partialmethod(compile_module, backend="eager"))
    save(pipe, tmp_path)
    generator: Any = load_generator(config_of(tmp_path, compile=True))
    plain = load_generator(config_of(tmp_path))
    torch._dynamo.reset()
    graphs = []
    for rows in (17, 19, 23):  # below 16 a convolution on the CPU has another graph
        assert torch.equal(draw(generator, None, rows), draw(plain, None, rows))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert len(set(graphs)) == 1


@pytest.mark.gpu
def test_on_a_gpu(pipe: Any, classifier: nn.Module, tmp_path: Path):
    """The CPU's images, and the GPU's memory given back; a batch that outgrows it is halved."""
    guidance = EntropyGuidance(classifier, 0.02)
    expected = draw(make_generator(pipe), guidance, 6)
    save(pipe, tmp_path)
    generator: Any = load_generator(config_of(tmp_path, offload=True))
    at_rest = torch.cuda.memory_allocated()
    on_gpu = replace(guidance, logits=copy.deepcopy(classifier).cuda())
    torch.testing.assert_close(draw(generator, on_gpu, 6), expected, atol=2e-2, rtol=0)
    assert torch.cuda.memory_allocated() > at_rest
    generator.offload()
    assert torch.cuda.memory_allocated() <= at_rest + 2**20
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (total - free + 2**28) / total))
    try:
        assert len(draw(generator, on_gpu, 4096)) == 4096
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
