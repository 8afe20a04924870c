"""dp_real.guide in the ways that pipelines are called and put together, and with the classifiers that people have."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderTiny,
    AutoPipelineForImage2Image,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FluxModularPipeline,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    QwenImageModularPipeline,
    StableDiffusion3ModularPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLModularPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, TimmWrapperConfig, ViTForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput

import dp_real
from dp_base.errors import InputError, MissingError
from dp_real.config import parse_config
from dp_real.examples import Task
from dp_real.generators.pipelines.guide import _logits, _near
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.learners.models.architectures import class_names
from dp_real.learners.models.classifier import Classifier, ClassifierLearner, fresh_classifier
from dp_real.plan.needs import needs
from dp_real.sections import TrainingConfig
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import PROMPTS, N, assert_guided, draw, random_pipeline, three

pytestmark = tiny.THEIR_WARNINGS


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gradients of all guided steps."""
    found: list[Tensor] = []
    monkeypatch.setattr(EntropyGuidance, "move", lambda self, x, gradient: found.append(gradient) or x)
    return found


def with_scheduler(kind: Any, pipeline: Any = None) -> Any:
    pipe = random_pipeline()
    if pipeline:
        pipe = pipeline(**pipe.components, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, prediction_type="epsilon", skip_prk_steps=True)
    return pipe


OWN_TIMES = [DDPMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler, LCMScheduler]


@pytest.mark.parametrize("kind", OWN_TIMES, ids=tiny.name)
def test_the_callers_own_timesteps_are_all_guided_but_the_last(kind: Any, pushes: list[Tensor]):
    pipe = dp_real.guide(with_scheduler(kind), three, 0.01)
    own: dict[str, Any] = {"timesteps": [900, 700, 500, 300, 100]}
    for given, steps in ((own, 5), ({"num_inference_steps": 3}, 3), (own, 5)):
        pushes.clear()
        pipe(PROMPTS, height=32, width=32, output_type="latent", **given)
        assert len(pushes) == steps - 1


AMID = [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler]


@pytest.mark.parametrize("kind", [*AMID, DDPMScheduler], ids=tiny.name)
def test_image_to_image_counts_steps_from_the_begin_of_the_schedule(
    kind: Any, pushes: list[Tensor], caplog: pytest.LogCaptureFixture
):
    pipe = with_scheduler(kind, StableDiffusionImg2ImgPipeline)
    picture = torch.rand(N, 3, 32, 32)
    for window, expected in (((0.0, 0.5), 0), ((0.5, 1.0), 3), ((0.75, 1.0), 1)):
        pushes.clear()
        caplog.clear()
        dp_real.guide(pipe, three, 0.01, window=window)
        pipe(PROMPTS, image=picture, strength=0.5, num_inference_steps=8, output_type="latent")
        assert len(pushes) == expected
        assert caplog.text.count("none of the 4 steps lies in window = (0.0, 0.5): the images are") == (not expected)


def test_inpainting_is_refused():
    pipe = with_scheduler(DDIMScheduler, StableDiffusionInpaintPipeline)
    with pytest.raises(InputError, match="inpainting cannot be guided: what lies outside the mask is put back"):
        dp_real.guide(pipe, three, 0.01)


def modular(kind: Any, make: Callable[[], Any]) -> Any:
    pipe = kind()
    parts = {name: part for name, part in random_pipeline(make).components.items() if part is not None}
    pipe.update_components(**{name: part for name, part in parts.items() if name in pipe._component_specs})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_modular(pipe: Any, **options: Any) -> Tensor:
    call: dict[str, Any] = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(0)}
    call |= {"height": 32, "width": 32, "output_type": "pt", "output": "images"} | options
    return 2 * pipe(prompt=PROMPTS, **call) - 1


XL = (StableDiffusionXLModularPipeline, tiny.stable_diffusion_xl)


@pytest.mark.parametrize(
    ("kind", "make"), [XL, (StableDiffusion3ModularPipeline, tiny.stable_diffusion_3)], ids=tiny.name
)
def test_modular_pipelines_draw_harder_images_and_go_back(kind: Any, make: Callable[[], Any]):
    assert_guided(modular(kind, make), draw_modular)


def test_a_modular_pipeline_is_told_of_a_mask_when_it_is_called():
    pipe = dp_real.guide(modular(*XL), three, 0.01)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    given = {"image": N * [picture], "strength": 0.5}
    assert draw_modular(pipe, **given).shape == (N, 3, 32, 32)
    masked = given | {"mask_image": N * [Image.new("L", (32, 32), 255)]}
    with pytest.raises(InputError, match="inpainting cannot be guided"):
        draw_modular(pipe, **masked)
    assert draw_modular(dp_real.unguide(pipe), **masked).shape == (N, 3, 32, 32)


@pytest.mark.parametrize(
    ("kind", "make"), [(FluxModularPipeline, tiny.flux), (QwenImageModularPipeline, tiny.qwen_image)], ids=tiny.name
)
def test_modular_pipelines_that_pack_their_latents_are_refused(kind: Any, make: Callable[[], Any]):
    with pytest.raises(
        InputError, match=rf"^{kind.__name__} cannot be guided; of the modular pipelines \S+ and \S+ can$"
    ):
        dp_real.guide(modular(kind, make), three, 0.01)


def test_a_pipeline_with_the_same_scheduler_is_not_guided():
    first = random_pipeline()
    second = AutoPipelineForImage2Image.from_pipe(first)
    assert second.scheduler is first.scheduler
    plain = draw(first)
    own = first.scheduler
    for guided, other in ((second, first), (first, second)):
        dp_real.guide(guided, three, 0.1)
        assert "step" not in vars(other.scheduler)
        dp_real.unguide(guided)
    assert "step" not in vars(own)
    third = AutoPipelineForImage2Image.from_pipe(dp_real.guide(first, three, 0.1))
    dp_real.unguide(third)
    assert not torch.equal(draw(first), plain)
    assert torch.equal(draw(dp_real.unguide(first)), plain)


def test_packed_latents_of_an_unknown_size_are_refused():
    """from_pipe hands on the guided scheduler, but not the size that its images have."""
    guided = dp_real.guide(random_pipeline(tiny.flux), three, 0.1)
    other = type(guided)(**guided.components)
    with pytest.raises(InputError, match="the packed latents of FluxPipeline cannot be unpacked: call guide for it"):
        draw(other, tiny.flux)


# classifiers


def half(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)).to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_function_that_reads_half_precision_only_is_refused_at_once(dtype: torch.dtype):
    model, pipe = half(dtype), random_pipeline()
    with pytest.raises(InputError, match=f"reads images in {dtype} only, and is given float32: give the model itself"):
        dp_real.guide(pipe, lambda x: model(x), 0.1)
    asked = draw(dp_real.guide(pipe, lambda x: model(x.to(dtype)).float(), 0.1))
    assert torch.equal(draw(dp_real.guide(pipe, model, 0.1)), asked)


@pytest.mark.parametrize("channels", [3, 1])
def test_a_loaded_model_of_transformers_guides_as_its_folder_does(tmp_path: Path, channels: int):
    """What people have in hand, with its processor, or with one that is read from where the model came from."""
    model, processor, pipe = tiny.tiny_vit(channels), tiny.vit_processor(channels), random_pipeline()
    plain = draw(pipe)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    expected = draw(dp_real.guide(pipe, str(tmp_path), 0.01))
    assert not torch.equal(expected, plain)
    reread = ViTForImageClassification.from_pretrained(tmp_path)
    ways: list[dict[str, Any]] = [{"classifier": model, "processor": processor}, {"classifier": reread}]
    for given in ways:
        torch.testing.assert_close(draw(dp_real.guide(pipe, omega=0.01, **given)), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())  # it stays as it was
    with pytest.raises(InputError, match="ViTForImageClassification: how its images are normalised is not known"):
        dp_real.guide(pipe, model, 0.01)
    low = draw(dp_real.guide(pipe, model.bfloat16(), 0.01, processor=processor))
    torch.testing.assert_close(low, expected, atol=0.1, rtol=0)
    assert not torch.equal(low, expected)


def test_a_grey_learner_that_was_saved_guides(tmp_path: Path):
    """Its folder takes colours, as others load it, and the guidance is that of the learner itself."""
    task, pipe = Task((1, 16, 16), ("a", "b", "c")), random_pipeline()
    plain = draw(pipe)
    classifier = Classifier(tiny.tiny_vit(1), 16, [0.5], [0.5])
    ClassifierLearner(classifier, task, TrainingConfig(steps=1), seed=0).save(tmp_path)
    own = draw(dp_real.guide(pipe, classifier.eval(), 0.01))
    saved = draw(dp_real.guide(pipe, str(tmp_path), 0.01))
    assert not torch.equal(saved, plain)
    torch.testing.assert_close(saved, own, rtol=0.0, atol=1e-4)


def test_a_classifier_that_is_named_follows_the_pipeline_and_a_model_is_followed(tmp_path: Path):
    """The device "meta" stands for a GPU."""
    pipe, elsewhere = random_pipeline(), torch.zeros(1, 3, 32, 32, device="meta")
    model, processor = tiny.tiny_vit(), tiny.vit_processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert _logits(str(tmp_path), pipe, None)(elsewhere).device.type == "meta"
    for own in (model, half(torch.float32)):
        logits = _logits(own, pipe, processor)
        own.to("meta")
        assert logits(torch.zeros(1, 3, 32, 32)).device.type == "meta"
    assert _near(AutoencoderTiny(), elsewhere, pipe).device.type == "meta"
    assert _near(pipe.vae, elsewhere, pipe).device.type == "cpu"  # the pipeline moves it


TIMM: dict[str, Any] = {"architecture": "resnet18", "num_classes": 3, "label_names": ["a", "b", "c"]}
TIMM |= {"pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}


class TimmProcessor:
    """As TimmWrapperImageProcessor: it has no image_mean, and takes pictures of Pillow only."""

    data_config = TIMM["pretrained_cfg"]


class TimmModel(PreTrainedModel):
    """As TimmWrapperForImageClassification, with a network that is no timm's."""

    config_class = TimmWrapperConfig

    def __init__(self, config: TimmWrapperConfig) -> None:
        super().__init__(config)
        self.timm_model = nn.Linear(3, 3)
        self.seen: list[Tensor] = []

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:
        self.seen.append(pixel_values)
        return ImageClassifierOutput(logits=self.timm_model(pixel_values.mean((2, 3))))


@pytest.mark.parametrize("processor", [None, TimmProcessor()])
def test_a_classifier_of_timm_is_given_what_its_own_config_says(processor: Any):
    model = TimmModel(TimmWrapperConfig.from_dict(json.loads(json.dumps(TIMM)))).eval()
    logits = _logits(model, None, processor)(torch.stack([-torch.ones(3, 32, 32), torch.ones(3, 32, 32)]))
    mean, std = (torch.tensor(TIMM["pretrained_cfg"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = (torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16) - mean) / std
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.seen[0], expected)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_its_classifiers_are_missing_a_package(tmp_path: Path):
    """To guide with and to plan a run with, which refuses what a plan does."""
    (tmp_path / "config.json").write_text(json.dumps(TIMM))
    save_file({"fc.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingError, match=r"^[^\n]*timm[^\n]*: pip install 'deliberate-practice\[timm\]'$"):
        dp_real.guide(random_pipeline(), str(tmp_path), 0.01)
    told = "is a model of timm, which is not installed; pip install 'deliberate-practice[timm]'"
    for model in (str(tmp_path), "timm/resnet18.a1_in1k"):
        learner = {"kind": "transformers", "model": model}
        config = tiny.config_of(tmp_path).model_dump(exclude_none=True) | {"learner": learner}
        problems = [need.problem for need in needs(parse_config(config), tmp_path) if need.what == "learner.model"]
        assert problems == [f"{model} {told}"]
    with pytest.raises(MissingError, match=r"learner.architecture = 'timm_wrapper': .*timm"):
        fresh_classifier(Task((3, 16, 16), ("a", "b")), "timm_wrapper", {"architecture": "resnet18"})


def test_the_classes_of_a_task_reach_a_config_of_timm():
    """It takes the names for another number of classes only together with their number."""
    config = TimmWrapperConfig.from_dict(json.loads(json.dumps(TIMM)), **class_names(Task((3, 16, 16), ("x", "y"))))
    assert (config.num_labels, config.id2label) == (2, {0: "x", 1: "y"})
