"""dp_real.guide on each family of pipelines and each solver: harder images at the same noise, and a way back."""

import copy
import json
import pickle
import re
from functools import partial
from importlib.util import find_spec
from threading import Thread
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffVideoToVideoPipeline,
    AutoencoderKL,
    AutoencoderTiny,
    AutoPipelineForImage2Image,
    BriaFibo2Pipeline,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    Flux2KleinAutoBlocks,
    FluxAutoBlocks,
    FluxFillPipeline,
    FluxModularPipeline,
    HeunDiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LCMScheduler,
    ModularPipelineBlocks,
    PNDMScheduler,
    QwenImageAutoBlocks,
    QwenImageLayeredPipeline,
    SanaSprintImg2ImgPipeline,
    StableDiffusion3AutoBlocks,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPanoramaPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAutoBlocks,
    UniPCMultistepScheduler,
)
from diffusers.hooks import apply_group_offloading
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close
from transformers import TimmWrapperConfig, ViTForImageClassification

import dp_real
from dp_base.errors import MissingError
from dp_real.data.examples import Task
from dp_real.guidance.block import EntropyGuidanceBlock
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.guidance.guide import classifier_logits
from dp_real.guidance.scheduler import GuidanceState, guide_steps
from dp_real.learners.models.architectures import class_names
from dp_real.learners.models.classifier import fresh_classifier
from dp_real.runtime.computing import eval_mode
from dp_real.runtime.seeds import row_noise, row_seeds
from tests.dp_real.conftest import CONTEXTS
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import FAMILIES, PROMPTS, N, assert_guided, draw, random_pipeline, three
from tests.refusals import refusal
from tests.source import ROOT

pytestmark = tiny.THEIR_WARNINGS


@pytest.fixture
def pushes(patch):
    """The gradients of all guided steps."""
    found = []
    patch("dp_real.guidance.entropy.EntropyGuidance.move", lambda self, x, gradient: found.append(gradient) or x)
    return found


def assert_seen(pipe, make, size=(32, 32)):
    """After a single step x0_hat is the image, so that the classifier sees what the pipeline draws."""
    seen = []
    if "set_alpha_to_one" in pipe.scheduler.config:  # else some noise would remain
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, set_alpha_to_one=True)
    plain = draw(pipe, make, steps=1, size=size)
    dp_real.guide(pipe, lambda x: (seen.append(x.detach()), three(x))[1], 0.01)
    draw(pipe, make, steps=1, size=size)
    assert plain.std() > 0.05
    assert_close(seen[-1][:N].clamp(-1, 1), plain, atol=1e-4, rtol=0)  # DiT has its rows twice


EPSILON = {"prediction_type": "epsilon", "skip_prk_steps": True}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
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
SOLVERS = [
    *((make, None, {}) for make in FAMILIES),  # its own
    *((tiny.stable_diffusion, kind, EPSILON) for kind in DIFFUSION),
    (tiny.stable_diffusion_3, FlowMatchEulerDiscreteScheduler, {}),
    (tiny.stable_diffusion_3, FlowMatchEulerDiscreteScheduler, {"invert_sigmas": True}),
    (tiny.stable_diffusion_3, FlowMatchHeunDiscreteScheduler, {}),
    *((tiny.stable_diffusion_3, kind, FLOW) for kind in (DPMSolverMultistepScheduler, UniPCMultistepScheduler)),
]


@pytest.mark.parametrize(("make", "kind", "options"), SOLVERS)
def test_each_family_and_solver_draws_harder_images_that_the_classifier_sees(make, kind, options):
    pipe = random_pipeline(make)
    if kind:
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    assert_guided(pipe, partial(draw, make=make, steps=3 if make is tiny.sana_sprint else 4))
    assert_seen(pipe, make)


def test_the_classifier_sees_what_pndm_draws_by_v_prediction():
    """Its x0_hat is computed here."""
    pipe = random_pipeline()
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True)
    assert_seen(pipe, tiny.stable_diffusion)


@pytest.mark.parametrize("make", [tiny.flux, tiny.sana_sprint])
def test_a_single_step_is_guided(make):
    assert_guided(random_pipeline(make), partial(draw, make=make, steps=1))


@pytest.mark.parametrize("make", [tiny.flux, tiny.qwen_image])
def test_sizes_and_several_images_a_prompt_as_ever(make):
    """Packed latents do not tell the image's shape."""
    assert_seen(random_pipeline(make), make, size=(32, 64))
    pipe = dp_real.guide(random_pipeline(make), three, 0.1)
    call = {"num_inference_steps": 2, "height": 64, "width": 32, "num_images_per_prompt": 2}
    images = pipe("a hen", **call, **({"max_sequence_length": 16} if make is tiny.flux else {})).images
    assert [image.size for image in images] == [(32, 64)] * 2  # of Pillow: width, height


def test_any_objective_can_be_raised():
    pipe = random_pipeline()
    plain = draw(pipe)
    classifier = tiny.classifier_of(plain)
    for wanted in (0, 1):
        dp_real.guide(pipe, classifier, 3e-4, objective=lambda logits, wanted=wanted: logits[:, wanted])
        assert (classifier(draw(pipe)) - classifier(plain))[:, wanted].min() > 0


def test_it_is_the_guidance_of_the_sampler_here():
    pipe = random_pipeline()
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    noise = row_noise(row_seeds(0, 0, range(N)), (4, 8, 8))

    def theirs():
        call = {"latents": noise, "num_inference_steps": 8, "guidance_scale": 2.0, "output_type": "pt"}
        return 2 * pipe(PROMPTS, **call).images - 1

    plain = theirs()
    classifier = tiny.classifier_of(plain)
    options = {"every": 2, "window": (0.1, 0.9)}
    guidance = EntropyGuidance(classifier, omega=0.1, through="x0", **options)
    ours = dp_real.sample_images(pipe, PROMPTS, guidance, steps=8, guidance_scale=2.0)
    guided = (dp_real.guide(pipe, classifier, 0.1, **options), theirs())[1]
    assert_close(guided, ours, atol=1e-4, rtol=0)
    assert (guided - plain).flatten(1).abs().amax(1).min() > 0.05


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_after_a_push_a_multistep_solver_starts_again(kind):
    """Each step is one of first order from where guidance led, then guidance of its own. UniC would undo it."""
    scheduler, steps = kind(**tiny.BETAS), 6
    scheduler.set_timesteps(steps)
    guidance = EntropyGuidance(three, 0.2, through="x0")
    guide_steps(scheduler, GuidanceState(guidance, torch.ones_like))
    torch.manual_seed(2)
    x = torch.randn(2, 4, 8, 8)
    for index, t in enumerate(scheduler.timesteps):
        output, before = torch.randn_like(x), x
        x = scheduler.step(output, t, x, return_dict=False)[0]
        now, after = scheduler.sigmas[index : index + 2]
        (a, s), (a_after, s_after) = (scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in (now, after))
        unguided = a_after * (before - s * output) / a + s_after * output  # DDIM
        pushed = guidance.move(unguided, torch.ones_like(x)) if index < steps - 1 else unguided
        assert_close(x, pushed, atol=1e-3, rtol=1e-3)


def with_scheduler(kind):
    pipe = random_pipeline()
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **EPSILON)
    return pipe


@pytest.fixture
def guided_steps(pushes):
    """How many steps of a pipeline's call are guided."""

    def count(pipe, window=(0.0, 1.0), prompt=PROMPTS, **call):
        pushes.clear()
        dp_real.guide(pipe, three, 0.01, window=window)(prompt, output_type="latent", **call)
        return len(pushes)

    return count


@pytest.mark.parametrize("kind", [DDPMScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler])
def test_the_callers_own_timesteps_are_all_guided_but_the_last(kind, guided_steps):
    pipe = with_scheduler(kind)
    own = {"timesteps": [900, 700, 500, 300, 100]}
    counts = [guided_steps(pipe, height=32, width=32, **given) for given in (own, {"num_inference_steps": 3}, own)]
    assert counts == [4, 2, 4]


AMID = [DDIMScheduler, PNDMScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler, DDPMScheduler]


@pytest.mark.parametrize("kind", AMID)
def test_image_to_image_counts_steps_from_the_begin_of_the_schedule(kind, guided_steps):
    pipe = AutoPipelineForImage2Image.from_pipe(with_scheduler(kind))
    call = {"image": torch.rand(N, 3, 32, 32), "strength": 0.5, "num_inference_steps": 8}
    assert [guided_steps(pipe, (begin, end), **call) for begin, end in ((0, 0.5), (0.5, 1), (0.75, 1))] == [0, 3, 1]


IMAGE = torch.rand(1, 3, 32, 32)
TURBO = {"strength": 0.5, "num_inference_steps": 2}
SPRINT = {"height": 32, "width": 32, **tiny.FAMILIES[tiny.sana_sprint]} | {"intermediate_timesteps": 1.3}


@pytest.mark.parametrize(
    ("kind", "make", "given"),
    [
        (StableDiffusionImg2ImgPipeline, tiny.stable_diffusion, TURBO),
        (StableDiffusionImg2ImgPipeline, partial(with_scheduler, PNDMScheduler), TURBO),
        (StableDiffusionImg2ImgPipeline, partial(with_scheduler, HeunDiscreteScheduler), TURBO),
        (LatentConsistencyModelImg2ImgPipeline, tiny.latent_consistency, {"strength": 0.5, "timesteps": [999, 499]}),
        (SanaSprintImg2ImgPipeline, tiny.sana_sprint, SPRINT),
    ],
)
def test_the_only_step_that_image_to_image_executes_is_guided(kind, make, given, guided_steps):
    parts = random_pipeline(make).components
    pipe = kind(**parts, **({"requires_safety_checker": False} if "safety_checker" in parts else {}))
    assert guided_steps(pipe, prompt=PROMPTS[0], image=IMAGE, **given)


def nine_channels():
    pipe = random_pipeline(partial(tiny.stable_diffusion, in_channels=9, out_channels=4))
    return StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)


def flux_fill():
    parts = random_pipeline(partial(tiny.flux, in_channels=16 + 16 + 64, out_channels=16)).components
    return FluxFillPipeline(**{name: part for name, part in parts.items() if part})


@pytest.mark.parametrize("make", [nine_channels, flux_fill])
def test_inpainting_by_what_sees_the_mask_is_guided(make, guided_steps):
    images = {"image": IMAGE, "mask_image": torch.ones(1, 1, 32, 32), "height": 32, "width": 32}
    images |= {"max_sequence_length": 16} if make is flux_fill else {}
    assert guided_steps(make(), prompt=PROMPTS[0], num_inference_steps=3, **images) == 2


def test_images_that_stay_plain_are_told(caplog):
    pipe = random_pipeline()
    plain = draw(pipe)
    for message, classifier, options in (
        (r"no step was guided: window = \(0.95, 1.0\) and every = None", three, {"window": (0.95, 1.0)}),
        ("some images stay plain.*: the classifier is constant, or so certain", lambda x: 0 * three(x), {}),
    ):
        dp_real.guide(pipe, classifier, 0.1, **options)
        for _ in range(2):
            assert_close(draw(pipe), plain, atol=1e-5, rtol=0)
        (record,) = caplog.records
        assert re.match(message, record.message)
        caplog.clear()
    GuidanceState(EntropyGuidance(three, 0.1, through="x0"), three).warn_if_unguided()
    assert caplog.messages == ["no step was guided: its scheduler took none"]


def with_block(blocks, make):
    """A pipeline of these blocks and the block that guides, with tiny parts."""
    blocks.sub_blocks.insert("guidance", EntropyGuidanceBlock(), list(blocks.sub_blocks).index("denoise"))
    pipe = blocks.init_pipeline()
    parts = {name: part for name, part in random_pipeline(make).components.items() if part is not None}
    pipe.update_components(**{name: part for name, part in parts.items() if name in pipe._component_specs})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    ("blocks", "make", "given"),
    [
        (StableDiffusionXLAutoBlocks, tiny.stable_diffusion_xl, {}),
        (StableDiffusion3AutoBlocks, tiny.stable_diffusion_3, {}),
        (FluxAutoBlocks, tiny.flux, {"max_sequence_length": 16}),
        (Flux2KleinAutoBlocks, tiny.flux2, {"max_sequence_length": 16}),
        (QwenImageAutoBlocks, tiny.qwen_image, {"negative_prompt": PROMPTS[::-1]}),
    ],
)
def test_a_block_draws_harder_images_or_easier_ones(blocks, make, given):
    pipe = with_block(blocks(), make)

    def draw(omega):
        call = given | {"prompt": PROMPTS, "height": 32, "width": 32, "num_inference_steps": 4, "omega": omega}
        return 2 * pipe(**call, output_type="pt", output="images", generator=torch.Generator().manual_seed(0)) - 1

    pipe.vae.requires_grad_(False)  # as guidance leaves it: trainable weights may round otherwise
    pipe.update_components(classifier=three)
    plain = draw(0.0)
    classifier = tiny.classifier_of(plain)
    pipe.update_components(classifier=classifier)
    easier, before, harder = (entropy(classifier(draw(omega))).mean() for omega in (-3e-4, 0.0, 3e-4))
    assert easier + 0.001 < before < harder - 0.001
    assert draw(0.0).equal(plain)


def test_a_folder_has_the_block(tmp_path):
    """As the hub has blocks of others: a configuration, and a file that names the class."""
    EntropyGuidanceBlock().save_pretrained(tmp_path)
    (tmp_path / "block.py").write_text("from dp_real.guidance.block import EntropyGuidanceBlock\n")
    loaded = ModularPipelineBlocks.from_pretrained(str(tmp_path), trust_remote_code=True)
    assert isinstance(loaded, EntropyGuidanceBlock)


# what is touched, and what is not


def test_nothing_is_touched_without_a_strength():
    pipe = random_pipeline()
    before = {**vars(pipe)}
    dp_real.guide(pipe, "no/such-classifier", omega=0)
    for omega in (0, 0.1):
        with refusal("every = -1, window"):
            dp_real.guide(pipe, "no/such-classifier", omega, every=-1)
    assert vars(pipe) == before


def test_guided_anew_the_former_guidance_is_gone_and_inference_mode_changes_nothing():
    pipe = random_pipeline()
    classifier = tiny.classifier_of(draw(pipe))
    once = draw(dp_real.guide(pipe, classifier, 0.1))
    dp_real.guide(pipe, three, 0.3)
    dp_real.guide(pipe, classifier, 0.1)
    with torch.inference_mode():
        assert draw(pipe).equal(once)


def test_a_pipeline_with_the_same_scheduler_is_not_guided():
    first = random_pipeline()
    plain = draw(first)
    dp_real.guide(AutoPipelineForImage2Image.from_pipe(first), three, 0.1)
    assert draw(first).equal(plain)
    third = AutoPipelineForImage2Image.from_pipe(dp_real.guide(first, three, 0.1))
    assert draw(type(first)(**third.components, requires_safety_checker=False)).equal(plain)
    guided = draw(first)
    assert not guided.equal(plain)
    assert draw(pickle.loads(pickle.dumps(first))).equal(guided)
    call = partial(dp_real.sample_images, random_pipeline(tiny.stable_diffusion_3), PROMPTS, steps=2)
    plain_images = call()
    dp_real.guide(call.args[0], three, 0.1)
    assert call().equal(plain_images)  # it guides by its own argument only
    assert draw(dp_real.unguide(first)).equal(plain)


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, LCMScheduler])
def test_a_panorama_which_copies_its_schedulers_state_is_guided(kind):
    """At a strength of nothing it is the plain picture."""
    pipe = StableDiffusionPanoramaPipeline(**with_scheduler(kind).components)
    pipe.set_progress_bar_config(disable=True)

    def wide():
        call = {"num_inference_steps": 4, "height": 64, "width": 192, "output_type": "pt"}
        return pipe(PROMPTS[0], generator=torch.Generator().manual_seed(0), **call).images

    plain = wide()
    dp_real.guide(pipe, three, 1e-12)
    assert_close(wide(), plain, atol=1e-5, rtol=0)
    dp_real.guide(pipe, three, 0.1)
    assert not wide().allclose(plain, atol=1e-3)


def test_a_step_that_the_callers_program_replaced_is_guided_and_a_copied_scheduler_has_its_own(pushes):
    pipe = with_scheduler(EulerDiscreteScheduler)
    scheduler = pipe.scheduler
    scheduler.step = mine = Mock(wraps=scheduler.step)

    def look_ahead(pipe, index, t, tensors):
        if index < 3:
            assert type(scheduler) is EulerDiscreteScheduler  # some pipelines make another by its class
            copied = copy.deepcopy(scheduler)
            copied.step(tensors["latents"], scheduler.timesteps[index + 1], tensors["latents"])
            assert (scheduler.step_index, copied.step_index) == (index + 1, index + 2)
        return {}

    dp_real.guide(pipe, three, 0.1)(PROMPTS, num_inference_steps=4, callback_on_step_end=look_ahead)
    assert scheduler.step is mine
    assert mine.call_count == 4
    assert pushes


@pytest.mark.parametrize("wrap", [lambda decoder: decoder, partial(torch.compile, backend="eager")])
def test_a_tiny_decoder_may_guide(wrap):
    pipe = random_pipeline()
    seen = []
    dp_real.guide(pipe, lambda x: (seen.append(x), three(x))[1], 0.1, decoder=wrap(tiny.tiny_decoder()))
    guided = draw(pipe)
    assert [x.shape for x in seen] == 3 * [(N, 3, 32, 32)]  # not at the last step
    assert not draw(dp_real.unguide(pipe)).equal(guided)


@pytest.mark.parametrize("offloads", [False, True])
def test_a_decoder_that_overflows_in_half_precision_is_cast_at_each_guided_step(offloads):
    """Even if its weights are elsewhere between its steps; a copy would take their hooks along."""
    pipe = random_pipeline(tiny.stable_diffusion_xl)
    pipe.vae.register_to_config(force_upcast=True)
    dtypes = []
    dp_real.guide(pipe, lambda x: (dtypes.append(pipe.vae.dtype), three(x))[1], 0.05)
    pipe.to(dtype=torch.float16)
    if offloads:
        cpu_offload(pipe.vae, torch.device("cpu"))
    draw(pipe, tiny.stable_diffusion_xl)
    assert dtypes == 3 * [torch.float32]
    assert pipe.vae.dtype == torch.float16


@pytest.mark.parametrize("given", [lambda net: net, lambda net: net.forward, lambda net: lambda x: net(x)])
def test_a_network_that_trains_on_guides_by_evaluation(given):
    """Its modes are restored, part by part, and neither dropout nor its statistics have a say."""
    pipe = random_pipeline()
    network = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(48, 3))
    network[4].eval()
    dp_real.guide(pipe, given(network), 0.1)
    assert draw(pipe).equal(draw(pipe))
    assert network[0].num_batches_tracked == 0
    assert [part.training for part in network.modules()] == [True] * 5 + [False]


def test_a_network_that_another_thread_trains_stays_in_training():
    network, modes = nn.Linear(1, 1), []
    network.register_forward_hook(lambda *_: modes.append(network.training))
    with eval_mode(three):
        other = Thread(target=network, args=(torch.ones(1),))
        other.start()
        other.join()
        network(torch.ones(1))
    assert modes == [True, False]


@pytest.mark.parametrize("context", ["no_grad", "inference_mode", "autocast", "float64"])
def test_what_the_callers_program_has_set_in_torch_changes_no_guided_image(context):
    pipe, seen = random_pipeline(), []
    classifier = tiny.classifier_of(draw(pipe))
    dp_real.guide(pipe, lambda x: (seen.append(classifier(x)), seen[-1])[1], 0.01)
    guidance = EntropyGuidance(classifier, 0.01)

    def images():
        return dp_real.sample_images(pipe, PROMPTS, guidance, steps=3), draw(pipe)

    expected = images()
    with CONTEXTS[context]():
        found = images()
    assert {logits.dtype for logits in seen} == {torch.float32}
    assert found[0].equal(expected[0])
    assert found[1].equal(expected[1]) or context == "autocast"  # the pipeline's own steps obey it


# what cannot be guided


def of(kind, vae):
    pipe = object.__new__(kind)
    vars(pipe).update(scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae)
    return pipe


@pytest.mark.parametrize(
    ("pipe", "reason"),
    [
        (of(AnimateDiffPipeline, None), "AnimateDiffPipeline generates video or audio: the classifier takes only"),
        (of(AnimateDiffVideoToVideoPipeline, None), "AnimateDiffVideoToVideoPipeline generates video or audio"),
        (of(BriaFibo2Pipeline, tiny.flux2_vae()), "BriaFibo2Pipeline packs its latents in a way that is not known"),
        (of(QwenImageLayeredPipeline, tiny.shifted_vae()), "QwenImageLayeredPipeline packs its latents in a way"),
        (of(StableDiffusionPipeline, AutoencoderKL(out_channels=6)), "decodes 6 channels: should be red"),
        ("folder", "^folder: load the pipeline first, by from_pretrained$"),
        (of(StableDiffusionPipeline, None), "StableDiffusionPipeline cannot be guided: it has no vae$"),
        (
            StableDiffusionInpaintPipeline(*7 * [None], requires_safety_checker=False),
            "StableDiffusionInpaintPipeline cannot be guided: pixels outside the mask are restored",
        ),
        (
            FluxModularPipeline(),
            "FluxModularPipeline: put a dp_real.EntropyGuidanceBlock into its blocks, before 'denoise'",
        ),
    ],
)
def test_a_pipeline_that_cannot_be_guided_is_told_why(pipe, reason):
    with refusal(reason):
        dp_real.guide(pipe, three, 0.1)


def test_what_cannot_be_guided_is_said():
    pipe = random_pipeline()
    usual = pipe.scheduler
    for pipe.scheduler, message in (
        (DEISMultistepScheduler(), "DEISMultistepScheduler cannot be guided; these can: DDIMScheduler, "),
        (UniPCMultistepScheduler(predict_x0=False), "set to predict noise"),
        (PNDMScheduler(), "skip_prk_steps"),
    ):
        with refusal(message):
            dp_real.guide(pipe, three, 0.1)
    pipe.scheduler = usual
    dp_real.guide(pipe, three, 0.1).scheduler = DEISMultistepScheduler.from_config(usual.config)
    with refusal("DEISMultistepScheduler cannot be guided"):
        draw(pipe)
    pipe.scheduler = usual
    before = draw(dp_real.guide(pipe, three, 0.1))
    for bad in ({"classifier": 3}, {"decoder": nn.Identity()}, {"classifier": tiny.tiny_vit(), "processor": "vit"}):
        with refusal("classifier = 3: should be|latents of Identity|processor = 'vit': should"):
            dp_real.guide(pipe, **{"classifier": three} | bad)
    assert draw(pipe).equal(before)  # it is guided as it was
    with refusal("gave numbers that are not finite"):
        draw(dp_real.guide(pipe, lambda images: three(images) / 0))
    with refusal(r"latents \[3, 4, 8, 8\]: AutoencoderTiny decodes \[batch, 16, height, width\]"):
        draw(dp_real.guide(pipe, three, decoder=AutoencoderTiny(latent_channels=16)))
    for guidance in (EntropyGuidance(three, 0.1), EntropyGuidance(three, 0.1, "raw", through="x0")):
        with refusal("through = 'x0'"):
            GuidanceState(guidance, three)
    refused = {
        partial(EntropyGuidance, three, omega=0.1): {"omega": ["auto", torch.nan], "every": [0, 1.5]}
        | {"window": [1, (0.7, 0.2)], "scale": ["Relative"], "through": ["x_0"], "objective": ["entropy"]},
        partial(dp_real.sample_images, pipe, prompts=PROMPTS): {"prompts": ["a hen", []], "guidance": [three]}
        | {"steps": [0, 2.5], "seed": [-1]},
    }
    for call, options in refused.items():
        for name, values in options.items():
            for value in values:
                with refusal("should be"):
                    call(**{name: value})


def stay(vae):
    cpu = torch.device("cpu")
    apply_group_offloading(vae, onload_device=cpu, offload_device=cpu, offload_type="leaf_level")


@pytest.mark.parametrize("swap", [stay, lambda vae: vae.enable_layerwise_casting(torch.bfloat16, torch.float32)])
def test_a_decoder_whose_weights_are_swapped_is_refused(swap):
    """Their gradient would be finite and wrong."""
    pipe = random_pipeline()
    swap(pipe.vae)
    with refusal(r"offloaded by groups, or cast .* \(exclude_modules = 'vae'\), or"):
        dp_real.guide(pipe, three, 0.1)
    draw(dp_real.guide(pipe, three, 0.1, decoder=tiny.tiny_decoder()))


# classifiers


def test_a_loaded_model_of_transformers_is_prepared_as_its_folder(tmp_path):
    """What people have in hand, with its processor, or with one that is read from where the model came from."""
    model, processor, images = tiny.tiny_vit(), tiny.vit_processor(), 2 * torch.rand(N, 3, 32, 32) - 1
    tiny.save_vit(tmp_path)
    expected = classifier_logits(tmp_path)(images)
    reread = ViTForImageClassification.from_pretrained(tmp_path)
    bare = tmp_path / "bare"
    reread.save_pretrained(bare)
    for given in ((model, processor), (bare, processor), (reread,)):
        assert_close(classifier_logits(*given)(images), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())  # it stays as it was
    with refusal("ViTForImageClassification: how its images are normalised is unknown"):
        classifier_logits(model)
    with refusal("processor= is for models: a function of images should prepare them"):
        dp_real.guide(random_pipeline(), three, processor=processor)
    low = classifier_logits(model.bfloat16(), processor)(images)
    assert_close(low, expected, atol=0.1, rtol=0)
    assert not low.equal(expected)


def test_a_classifier_that_is_named_follows_the_pipeline_and_a_model_is_followed(tmp_path):
    """The device "meta" stands for a GPU."""
    elsewhere = torch.zeros(1, 3, 32, 32, device="meta")
    tiny.save_vit(tmp_path)
    assert classifier_logits(str(tmp_path), None)(elsewhere).device.type == "meta"
    for own in (tiny.tiny_vit(), nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval()):
        logits = classifier_logits(own, tiny.vit_processor())
        own.to("meta")
        assert logits(torch.zeros(1, 3, 32, 32)).device.type == "meta"


TIMM = """{
    "architecture": "resnet18",
    "num_classes": 3,
    "label_names": ["a", "b", "c"],
    "pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
}"""
OF_TIMM = json.loads(TIMM)["pretrained_cfg"]


# TimmWrapperImageProcessor has no image_mean, and takes pictures of Pillow only.
@pytest.mark.parametrize("processor", [None, SimpleNamespace(data_config=OF_TIMM)])
def test_a_classifier_of_timm_is_given_what_its_own_config_says(processor):
    wrapped = nn.Flatten().eval()
    wrapped.config = TimmWrapperConfig.from_dict(json.loads(TIMM))
    mean, std = (torch.tensor(OF_TIMM[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = (-mean / std).expand(1, 3, 16, 16)  # of black
    assert_close(classifier_logits(wrapped, processor)(-torch.ones(1, 3, 32, 32)), expected.flatten(1))
    loaded = nn.Flatten().eval()  # as timm.create_model gives it; it takes smaller images too, unless its size is fixed
    loaded.pretrained_cfg = OF_TIMM | {"fixed_input_size": processor is not None}
    side, small = 16 if processor else 8, -torch.ones(1, 3, 8, 8)
    assert_close(classifier_logits(loaded, None)(small), expected[:, :, :side, :side].flatten(1))
    if processor:  # of any module, as it would prepare a picture
        assert_close(classifier_logits(nn.Flatten().eval(), processor)(small), expected.flatten(1))
    # It takes the names for another number of classes only together with their number.
    config = TimmWrapperConfig.from_dict(json.loads(TIMM), **class_names(Task((3, 16, 16), ("x", "y"))))
    assert (config.num_labels, config.id2label) == (2, {0: "x", 1: "y"})


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_its_classifiers_are_missing_a_package(tmp_path):
    (tmp_path / "config.json").write_text(TIMM)
    save_file({"fc.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with refusal(r"^[^\n]*timm[^\n]*: pip install 'deliberate-practice\[timm\]'$", MissingError):
        dp_real.guide(random_pipeline(), str(tmp_path), 0.01)
    with refusal(r"learner.architecture = 'timm_wrapper': .*timm", MissingError):
        fresh_classifier(Task((3, 16, 16), ("a", "b")), "timm_wrapper", {"architecture": "resnet18"})


def test_the_example_of_the_readme_runs(here, pushes):
    """With a tiny pipeline and a tiny classifier in the places of the published ones."""
    readme = (ROOT / "README.md").read_text()
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "dp_real.guide" in code)
    random_pipeline(tiny.stable_diffusion_xl).save_pretrained("pipeline")
    tiny.save_vit("classifier")
    places = {"stabilityai/sdxl-turbo": "pipeline", "google/vit-base-patch16-224": "classifier"}
    for published, place in places.items():
        example = example.replace(published, str(here / place))
    exec(compile(example, "README.md", "exec"), {})
    with Image.open("crane.png") as image:
        assert image.size == (32, 32)
    assert len(pushes) == 3
    assert all(gradient.abs().max() > 0 for gradient in pushes)
