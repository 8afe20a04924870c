"""Pipelines as generators, tiny: what they draw, how guidance moves it row by row, how they are loaded."""

import copy
import socket
import tomllib
from dataclasses import replace
from functools import partial, partialmethod

import numpy as np
import pytest
import torch
from diffusers import ConsistencyModelPipeline, DDIMScheduler, DiTPipeline, EDMEulerScheduler, PNDMScheduler
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

import dp_real
from dp_base.errors import DivergedError
from dp_real.data.examples import Examples, RealData, Task
from dp_real.data.image_folder import FolderConfig
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.generators import class_prompts
from dp_real.generators.diffusers import DiffusersConfig
from dp_real.generators.pipelines.generator import class_numbers, guidance_argument, pipeline_generator, sample_images
from dp_real.generators.pipelines.loading import load_pipeline
from dp_real.guidance.entropy import EntropyGuidance, RandomGuidance, entropy
from dp_real.guidance.latents import decode
from dp_real.practice.objects import GivenPipelineConfig, with_objects
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import (
    PROMPTS,
    SD1,
    STEPS,
    classifier_of,
    config_of,
    dit,
    make_generator,
    random_pipeline,
    stable_diffusion,
    stable_diffusion_xl,
)
from tests.dp_real.runs.folders import set_keys
from tests.refusals import refusal

pytestmark = tiny.THEIR_WARNINGS
SEEDS = row_seeds(0, 0, range(3))
X0 = {"through": "x0"}


@pytest.fixture(scope="module")
def pipe():
    return random_pipeline()


@pytest.fixture(scope="module")
def saved(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(pipe):
    return classifier_of(draw(make_generator(pipe), None, 24), spread=2)


def draw(generator, guidance, n=6):
    return generator.sample(torch.arange(n) % 3, row_seeds(0, 0, range(n)), guidance)


# sampling


def scheduled(scheduler):
    """Stable Diffusion with another scheduler."""

    def make():
        pipe = stable_diffusion()
        pipe.scheduler = scheduler
        return pipe

    return make


# Stable Diffusion 1's own settings: its scheduler is not DDIM, and DDIM's defaults are not its settings.
MADE = {
    "sd, v, trailing": (stable_diffusion, 3.0),
    "sd, epsilon, from PNDM": (scheduled(PNDMScheduler(**SD1, skip_prk_steps=True)), 1.0),
    "sd, epsilon, leading": (scheduled(DDIMScheduler(**SD1, clip_sample=False)), 3.0),
    "sdxl": (stable_diffusion_xl, 3.0),
    "sdxl, empty prompt": (lambda: stable_diffusion_xl(force_zeros_for_empty_prompt=False), 3.0),
    "dit": (dit, 3.0),
    "dit, unconditional": (dit, 1.0),
}


@pytest.mark.parametrize("name", MADE)
def test_without_guidance_the_own_loop_draws_the_pipelines_own_image(name, patch, caplog):
    make, scale = MADE[name]
    pipe = random_pipeline(make)
    images = draw(make_generator(pipe, scale), None, 3)
    told = ["StableDiffusionXLPipeline is drawn by DDIM, not by its EulerDiscreteScheduler"]
    assert caplog.messages == (told if name.startswith("sdxl") else [])
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)  # perhaps another solver
    call = {"num_inference_steps": STEPS, "guidance_scale": scale, "output_type": "pt"}
    noise = row_noise(SEEDS, (4, 8, 8))
    if isinstance(pipe, DiTPipeline):
        patch("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda shape, **rest: noise)
        expected = 2 * pipe([0, 1, 8], **call).images - 1
    else:
        expected = 2 * pipe(PROMPTS, latents=noise, **call).images - 1
    assert expected.std() > 0.05
    assert_close(images, expected, atol=2e-4, rtol=0)


def test_a_pipeline_without_a_scale_of_guidance_has_none():
    assert guidance_argument(object.__new__(ConsistencyModelPipeline)) is None  # though it takes class_labels


BY_SCALE = {"use_resolution_binning": False, "clean_caption": False}
CALLED = [  # each with what its own call is given
    (tiny.stable_diffusion_3, {"guidance_scale": 3.0}),
    (tiny.stable_diffusion_3, {"guidance_scale": 1.0}),
    (tiny.flux, {"true_cfg_scale": 3.0, "negative_prompt": [" "] * 3}),
    (tiny.flux, {"true_cfg_scale": 1.0}),
    (tiny.flux2, {"guidance_scale": 3.0}),
    (tiny.qwen_image, {"true_cfg_scale": 3.0, "negative_prompt": [" "] * 3}),
    (tiny.sana, {"guidance_scale": 3.0, **BY_SCALE}),
    (tiny.pixart, {"guidance_scale": 3.0, **BY_SCALE}),
    (tiny.sana_sprint, {**BY_SCALE, "intermediate_timesteps": None}),
]


@pytest.mark.parametrize(("make", "given"), CALLED)
def test_other_pipelines_draw_their_own_image(make, given):
    pipe = random_pipeline(make)
    scale = given.get("guidance_scale", given.get("true_cfg_scale", 1.0))
    generator = make_generator(pipe, scale, 3, None, size=(32, 64))
    rows = [torch.Generator().manual_seed(int(seed) >> 1) for seed in SEEDS]
    call = {"num_inference_steps": 3, "output_type": "pt", "height": 32, "width": 64}
    expected = 2 * pipe(prompt=PROMPTS, generator=rows, **call, **given).images - 1
    assert expected.std() > 0.02
    assert_close(draw(generator, None, 3), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (stable_diffusion, {"omega": 0.03}),
        (stable_diffusion, {"omega": 0.02, "scale": "raw", **X0}),
        (stable_diffusion_xl, {"omega": 0.03}),
        (dit, {"omega": 0.03}),
        (tiny.stable_diffusion_3, {"omega": 0.01, **X0}),
        (tiny.sana_sprint, {"omega": 0.01, **X0}),
    ],
)
def test_guided_images_are_harder_than_plain_ones_and_a_batch_is_its_rows(make, options):
    """Harder than random directions of the same length make them, too."""
    pipe = random_pipeline(make)
    for weight in pipe.vae.decoder.conv_out.parameters():
        weight.data.mul_(0.3)  # no pixel is clipped: what the guidance does there would not be seen
    kind = {"steps": 3, "size": (32, 32), "scale": 1.0 if make is tiny.sana_sprint else 2.0}
    generator = make_generator(pipe, **kind)
    plain = draw(generator, None)
    classifier = classifier_of(plain, spread=2)
    before = entropy(classifier(plain)).mean()

    def gain(sign):
        images = draw(generator, EntropyGuidance(classifier, **options | {"omega": sign * options["omega"]}))
        return entropy(classifier(images)).mean() - before, images

    harder, images = gain(+1)
    assert harder > 3e-3
    assert gain(-1)[0] < -3e-3
    control = RandomGuidance(classifier, options["omega"], **X0, seeds=row_seeds(0, 0, range(6)))
    random = draw(generator, control)
    assert (random - plain).abs().amax((1, 2, 3)).min() > 0
    assert abs(entropy(classifier(random)).mean() - before) < harder / 3 or "scale" in options
    generator = make_generator(pipe, batch_size=4, **kind)
    assert_close(gain(+1)[1], images, atol=1e-3, rtol=0)
    assert_close(draw(generator, control), random, atol=1e-3, rtol=0)
    assert_close(draw(generator, None), plain, atol=1e-3, rtol=0)  # it is not guided now


def test_sample_images_draws_some_at_a_time(patch):
    patch("dp_real.generators.pipelines.generator.AT_ONCE", 2)
    pipe, seen = random_pipeline(), []
    pipe.unet.register_forward_pre_hook(lambda unet, inputs: seen.append(len(inputs[0])))
    assert sample_images(pipe, PROMPTS, steps=1).shape[0] == 3
    assert seen == [2 * 2, 2 * 1]  # with and without the prompt


def test_sample_images_takes_sizes_and_class_numbers_and_gives_no_nan():
    assert sample_images(random_pipeline(), np.array(PROMPTS), steps=1, size=(32, 64)).shape == (3, 3, 32, 64)
    pipe = random_pipeline(dit)
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")
    images = sample_images(pipe, [0, 8], steps=2, guidance_scale=2.0)
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
    with refusal("1000: this DiT has 1000 classes"):
        sample_images(random_pipeline(dit), [1000], steps=1)
    with refusal("images are not finite: lower omega or guidance_scale, or load the pipeline in", DivergedError):
        sample_images(pipe, [0, 8], steps=2, guidance_scale=1e39)


def test_a_rows_seed_picks_its_prompt_and_a_prompt_is_encoded_once_and_alone(pipe, patch):
    texts = []
    encode = pipe.encode_prompt
    patch(pipe, "encode_prompt", lambda text, *rest: texts.append(text) or encode(text, *rest))
    prompts = [["hen", "a hen"], ["cock", "a cock"], ["chick", "a chick"]]
    generator = pipeline_generator(pipe, prompts, (3, 32, 32), 1, 2.0)
    first = draw(generator, None, 24)
    assert sorted(texts) == sorted(["", *(prompt for several in prompts for prompt in several)])
    assert draw(generator, None, 24).equal(first)
    assert len(texts) == 7


def test_a_large_batch_is_decoded_in_parts(patch):
    """No activation has more elements than allowed; images and gradients are those of the whole batch."""
    vae = random_pipeline().vae.double()
    noise = torch.randn(5, 4, 8, 8, requires_grad=True)
    largest = []
    for module in vae.decoder.modules():
        module.register_forward_hook(lambda _module, _inputs, answer: largest.append(answer.numel()))
    whole = decode(vae, noise)
    (whole_gradient,) = torch.autograd.grad(whole.square().sum(), noise)
    assert max(largest) == 5 * 16 * 32 * 32
    patch("dp_real.guidance.latents.MAX_ELEMENTS", 2 * 16 * 32 * 32 + 1)
    largest.clear()
    parts = decode(vae, noise)
    (gradient,) = torch.autograd.grad(parts.square().sum(), noise)
    assert max(largest) == 2 * 16 * 32 * 32
    assert_close(parts, whole)
    assert_close(gradient, whole_gradient)


# loading


def save(pipe, folder):
    """As on the hub, where a DiT's index has the names of its classes, which save_pretrained forgets."""
    pipe.save_pretrained(folder)
    if isinstance(pipe, DiTPipeline):
        names = {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", "8": "hen"}
        set_keys(folder / "model_index.json", id2label=names)


@pytest.mark.parametrize("make", [stable_diffusion, dit, tiny.sana, tiny.stable_diffusion_3])
def test_a_saved_pipeline_is_a_generator_by_its_own_index(make, tmp_path, patch):
    """A decoder that cannot save memory, as SANA's, is left as it is. The network is not asked."""
    for place, name in ((socket, "getaddrinfo"), (socket.socket, "connect")):
        patch(place, name, None)
    pipe = random_pipeline(make)
    save(pipe, tmp_path)
    options = {"size": 32, "checkpointing": True, "batch_size": 2}
    generator = load_generator(config_of(tmp_path, guidance=X0, **options))
    assert generator.network.is_gradient_checkpointing
    assert (generator.n_classes, generator.sample_shape) == (3, (3, 32, 32))
    expected = draw(make_generator(pipe, size=(32, 32)), None, 3)
    assert_close(draw(generator, None, 3), expected, atol=1e-3, rtol=0)
    if make is tiny.sana:
        with refusal(r"guidance.through = 'x0' and guidance.scale = 'relative' only"):
            load_generator(config_of(tmp_path))


def test_a_tiny_decoder_decodes_for_the_guidance_only(saved, classifier, tmp_path):
    tiny.tiny_decoder().save_pretrained(tmp_path)
    full, small = (load_generator(config_of(saved, tiny_decoder=decoder)) for decoder in (None, str(tmp_path)))
    guidance = EntropyGuidance(classifier, 0.1)
    assert draw(small, None, 2).equal(draw(full, None, 2))
    assert not draw(small, guidance, 2).allclose(draw(full, guidance, 2), atol=1e-2)


def test_in_half_precision_guidance_is_float32(saved, classifier):
    seen = []
    low = make_generator(load_pipeline(str(saved), "bfloat16"))
    plain = draw(low, None, 2)
    hard = draw(low, EntropyGuidance(lambda x: (seen.append(x.dtype), classifier(x))[1], 0.05), 2)
    assert {hard.dtype, *seen} == {torch.float32}
    assert hard.isfinite().all()
    assert (hard - plain).abs().amax((1, 2, 3)).min() > 1e-3


def test_pipelines_schedules_and_sizes_that_cannot_be_used(tmp_path):
    pipe = stable_diffusion()
    pipe.save_pretrained(tmp_path)
    set_keys(tmp_path / "model_index.json", _class_name="DDPMPipeline")
    with refusal("DDPMPipeline is no pipeline of diffusers that draws images for prompts"):
        load_pipeline(str(tmp_path))
    pipe.scheduler = EDMEulerScheduler()
    for given, size, message in (
        (pipe, None, "EDMEulerScheduler"),
        (random_pipeline(tiny.flux), (32, 36), "FluxPipeline cannot draw 32 x 36 pixels: sides must be multiples of 8"),
        (random_pipeline(tiny.stable_diffusion_3), (32, 72), "multiples of 8, at most 64"),
        (random_pipeline(tiny.sana_sprint), None, "SanaSprintPipeline has no classifier-free guidance"),
    ):
        with refusal(message):
            make_generator(given, size=size)


def test_the_safety_checker_is_off_and_said_to_be(tmp_path, caplog):
    stable_diffusion().save_pretrained(tmp_path)
    load_pipeline(str(tmp_path))
    assert not caplog.messages
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    set_keys(tmp_path / "model_index.json", safety_checker=checker)
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
    with refusal("'crane': 134 and 517 of the pipeline's classes"):
        class_numbers(names, ["tench", "crane"])
    with refusal("'dog': none"):
        class_numbers(names, ["dog"])


def asked(prompts, **more):
    return DiffusersConfig(kind="diffusers", model="some/model", prompts=prompts, **more)


def test_prompts_are_templates_filled_in():
    hen = Task((3, 8, 8), ("hen",), ("a {bird}",))
    assert class_prompts(["a {}", "{} by day"], hen) == [["a hen", "hen by day"]]
    assert class_prompts({"hen": ["a brown bird"]}, hen) == [["a brown bird"]]
    assert class_prompts(["{definition} {}"], hen) == [["a {bird} hen"]]
    both = Task((3, 8, 8), ("hen", "cock"), ("a {bird}", ""), ("hen, biddy", ""))
    assert class_prompts(["{}: {synonyms}"], both) == [["hen: hen, biddy"], ["cock: cock"]]
    with refusal(r"class 'cock' has no definition; write one in data\.definitions"):
        asked(["{}, {definition}"]).check_task(both)


def test_a_file_has_captions_of_each_class(tmp_path):
    """What is read becomes part of the configuration, so that a run needs the file no more."""
    file = tmp_path / "captions.csv"
    forms = 'he\u0301n,a brown bird\ncock,a loud bird\nh\u00e9n,"a bird, asleep"\n'  # of one name
    file.write_text(f"class,caption\n{forms}")
    read = asked(str(file), prompts_per_class=0)
    assert read.prompts == {"h\u00e9n": ("a brown bird", "a bird, asleep"), "cock": ("a loud bird",)}
    assert asked({"he\u0301n": ["a bird"]}).prompts == {"h\u00e9n": ("a bird",)}
    assert DiffusersConfig(**read.model_dump(mode="json")) == read
    with refusal("class 'owl' has none"):
        class_prompts(read.prompts, Task((3, 8, 8), ("h\u00e9n", "owl")))
    with refusal("'cock' is none of the classes"):
        class_prompts(read.prompts, Task((3, 8, 8), ("h\u00e9n",)))
    with pytest.raises(ValidationError, match="an empty caption could draw any class"):
        asked({"hen": [" "]})
    with pytest.raises(ValidationError, match="prompts_per_class = 1: some class has 1 prompts; 0 is all"):
        asked(str(file), prompts_per_class=1)
    file.write_text("name,caption\nhen,a brown bird\n")
    with pytest.raises(ValidationError, match="needs the columns class and caption; it has name, caption"):
        asked(str(file))


def test_definitions_and_synonyms_of_a_configuration():
    """ImageNet's are WordNet's, unless the configuration says otherwise."""
    raw = {"source": "folder", "validation": "nowhere", "classes": "imagenet100"}
    task = FolderConfig(**raw, definitions={"wing": "of a bird"}).task
    boxer, wing = (task.classes.index(name) for name in ("boxer", "wing"))
    assert "stocky medium-sized short-haired dog" in task.definitions[boxer]
    assert (task.definitions[wing], task.synonyms[boxer]) == ("of a bird", "boxer")
    with pytest.raises(ValueError, match=r"definitions\.crow: 'crow' is none of the classes"):
        FolderConfig(**raw | {"classes": ["hen", "cock"]}, definitions={"crow": "black"})


# memory and speed


def test_checkpointing_saves_memory(saved, classifier):
    """Of one step, for its backward pass."""

    def kept(checkpointing):
        found = {}

        def pack(x):
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        generator = load_generator(config_of(saved, checkpointing=checkpointing))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            draw(generator, EntropyGuidance(classifier, 0.05, every=STEPS), 2)
        return sum(found.values())

    assert kept(True) < 0.7 * kept(False)


@pytest.mark.slow
@pytest.mark.parametrize("make", [stable_diffusion, stable_diffusion_xl, dit])
def test_what_is_compiled_serves_every_batch(make, tmp_path, patch):
    """Denoiser and decoder have a graph each for plain and for guided steps, however large the batch becomes."""
    compile_module = nn.Module.compile
    patch("torch.nn.Module.compile", partialmethod(compile_module, backend="eager"))
    save(random_pipeline(make), tmp_path)
    generator = load_generator(config_of(tmp_path, compile=True))
    plain = load_generator(config_of(tmp_path))
    torch._dynamo.reset()
    graphs = []
    for rows in (17, 19, 23):  # below 16 a convolution on the CPU has another graph
        assert draw(generator, None, rows).equal(draw(plain, None, rows))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert len(set(graphs)) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("make", [stable_diffusion, stable_diffusion_xl, dit])
def test_on_a_gpu(make, classifier, tmp_path):
    """The CPU's images; a batch that outgrows the memory is halved."""
    pipe = random_pipeline(make)
    guidance = EntropyGuidance(classifier, 0.02)
    expected = draw(make_generator(pipe), guidance, 6)
    save(pipe, tmp_path)
    generator = load_generator(config_of(tmp_path))
    on_gpu = replace(guidance, logits=copy.deepcopy(classifier).cuda())
    assert_close(draw(generator, on_gpu, 6), expected, atol=2e-2, rtol=0)
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (total - free + 2**28) / total))
    try:
        assert len(draw(generator, on_gpu, 4096)) == 4096
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_dit_in_memory_has_all_names_of_a_class():
    pipe = tiny.random_pipeline(dit)
    pipe.labels = {"Tinca tinca": 0, "hen": 8, "tench": 0}
    with with_objects({}, generator=pipe) as raw:
        names = GivenPipelineConfig(**raw["generator"]).index()["id2label"]
    assert class_numbers(names, ["tench", "hen"]) == [[0], [8]] == class_numbers(names, ["Tinca tinca", "hen"])


ANY = tomllib.loads("""
name = "any"
generator = { prompts = ["a photo of a {}"] }
sampling = { steps = 3, guidance_scale = 2.0 }
guidance = { omega = 0.05, through = "x0" }
learner = { kind = "conv", widths = [4, 8] }
training = { steps = 4, batch_size = 4 }
practice = { initial = 3, increment = 3, additions = 1, patience = 1, evaluate_every = 1 }
""")


@pytest.mark.parametrize("make", [tiny.stable_diffusion, tiny.stable_diffusion_3])
def test_a_pipeline_in_memory_is_run_as_its_folder(make, tmp_path):
    examples = Examples(torch.rand(12, 3, 32, 32) * 2 - 1, torch.arange(12) % 3)
    data = RealData(Task((3, 32, 32), tiny.CLASSES), None, examples, examples)
    pipe = tiny.random_pipeline(make)
    pipe.save_pretrained(tmp_path / "pipeline")
    stored = ANY["generator"] | {"kind": "diffusers", "model": f"{tmp_path}/pipeline"}
    dp_real.run(ANY | {"generator": stored}, tmp_path / "stored", data=data)
    given = partial(dp_real.run, ANY, tmp_path / "given", data=data, generator=pipe)
    given()
    pools = [dp_real.Run(tmp_path / name).pool for name in ("stored", "given")]
    assert torch.equal(*(pool.x[: len(pool)] for pool in pools))
    given(resume=True)
    next(pipe.vae.parameters()).data.add_(0.01)
    with refusal("the pipeline that was given changed since"):
        given(resume=True)
    given(resume=True, accept_changes=True)
    with refusal("is a guided pipeline: call"):
        dp_real.run(ANY, tmp_path / "other", data=data, generator=dp_real.guide(pipe, tiny.three))
