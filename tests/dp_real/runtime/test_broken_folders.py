"""A broken, incomplete or hostile folder of a model ends in one line that names it, for a plan and for a run."""

import re
import shutil
import struct
from types import SimpleNamespace

import pytest
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from dp_base.errors import InputError, MissingError
from dp_real.data.examples import Task
from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.generators.pipelines.loading import load_pipeline, load_tiny_decoder
from dp_real.guidance.section import SamplingConfig
from dp_real.learners.models.architectures import class_names, is_of_head
from dp_real.learners.models.classifier import load_encoder, pretrained_classifier
from dp_real.runtime.hub import headers_only
from dp_real.text.language_models import CausalLMConfig
from dp_real.text.models.sequence_classifier import pretrained_classifier as pretrained_text_classifier
from dp_real.text.sources import StandInTextConfig
from tests.dp_real.generators.tiny_pipelines import save_vit
from tests.dp_real.runs.folders import halve, set_keys
from tests.dp_real.text.made import encoder, language_model
from tests.refusals import refusal


def language(folder):
    config = CausalLMConfig(kind="causal-lm", model=str(folder), prompts=("a {}",), chat=True, max_new_tokens=4)
    return config.load(SamplingConfig(), StandInTextConfig(source="stand-in-text"))


USES = {
    "language": language,
    "images": lambda folder: pretrained_classifier(str(folder), (3, 16, 16), {}),
    "learner": lambda folder: pretrained_classifier(
        str(folder), (3, 16, 16), class_names(Task((3, 16, 16), ("a", "b")))
    ),
    "encoder": lambda folder: load_encoder(str(folder)),
    "texts": lambda folder: pretrained_text_classifier(str(folder), Task((64,), ("a", "b")), 32),
    "pipeline": lambda folder: load_pipeline(str(folder)),
    "tiny": lambda folder: load_tiny_decoder(str(folder)),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of each kind that can be used."""
    place = tmp_path_factory.mktemp("sound")
    language_model(place / "language")
    encoder(place / "texts", classes=2)
    for kind in ("images", "learner", "encoder"):
        save_vit(place / kind)
    AutoencoderTiny().save_pretrained(place / "tiny")
    make_pipeline(16, ["a"]).save_pretrained(place / "pipeline")
    return place


def weights(folder, part=""):
    return next((folder / part).glob("*.safetensors"))


def content(held, part=""):
    return lambda folder: weights(folder, part).write_bytes(held)


def changed(change, part=""):
    def damage(folder):
        file = weights(folder, part)
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return damage


def without_a_number(held):
    name = sorted(held)[len(held) // 2]
    return held | {name: held[name] * float("nan")}


def renamed(prefix, part=""):
    return changed(lambda held: {prefix + name: value for name, value in held.items()}, part)


def without(word, part=""):
    return changed(lambda held: {name: value for name, value in held.items() if word not in name}, part)


def gone(*names):
    def damage(folder):
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def said(file="config.json", **changes):
    return lambda folder: set_keys(folder / file, **changes)


def written(file, text):
    return lambda folder: (folder / file).write_text(text)


HUGE = struct.pack("<Q", 2**62) + b"{}"
TEMPLATE = "chat_template.jinja"
PROCESSOR = "preprocessor_config.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * b"0" + b"\nsize 346000000\n"
BROKEN = {
    "language": [
        ("header too large", content(HUGE)),
        ("is not finite", changed(without_a_number)),
        ("ZeroDivisionError", said(n_head=0)),
        ("no prompt could be read: TemplateSyntaxError", written(TEMPLATE, "{% for %}")),
        ("SecurityError", written(TEMPLATE, "{{ ''.__class__.__mro__[1].__subclasses__() }}")),
        ("no tokenizer could be read: KeyError", written("tokenizer.json", "{}")),
        ("such as 'lm_head.weight'; unknown to it: '_orig_mod", renamed("_orig_mod.")),
        ("11 weights, such as 'transformer.h.1.attn.c_attn.weight', are of further layers", said(n_layer=1)),
        ("bitsandbytes", said(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})),
    ],
    "images": [
        ("no image processor could be read: AttributeError", written(PROCESSOR, "[1]")),
        ("see its image_mean and image_std", said(PROCESSOR, image_std=[0, 0, 0])),
        ("could be read: the folder must hold", content(POINTER)),
        ("could be read: the folder must hold", content(b"")),
        ("could be read: the folder must hold", lambda folder: halve(weights(folder))),
        ("such as 'classifier.bias'; unknown to it: 'module.classifier.bias'", renamed("module.")),
        ("2 of ViTForImageClassification's weights are missing.*'classifier.bias'$", without("classifier")),
    ],
    "learner": [
        ("such as 'vit.embeddings.cls_token'; unknown to it: 'module.", renamed("module.")),
        ("such as 'vit.layernorm.bias'$", without("vit.layernorm")),
        ("such as 'vit.embeddings.position_embeddings'$", said(image_size=32)),
    ],
    "encoder": [
        ("2 of ViTModel's .* 'layernorm.bias'", without("vit.layernorm")),
    ],
    "texts": [
        ("'_orig_mod.", renamed("_orig_mod.")),
        ("no tokenizer could be read", gone("tokenizer.json")),
    ],
    "pipeline": [
        ("Unable to load weights from checkpoint file", content(HUGE, "unet")),
        ("no diffusers pipeline could be read: TypeError", written("model_index.json", "[1]")),
        ("no diffusers pipeline could be read", gone("model_index.json")),
        ("no AutoencoderKL in vae could be read", gone("vae", "tokenizer")),
        ("scheduler", gone("scheduler")),
        ("tokenizer knows no words", gone("tokenizer/tokenizer.json")),
        ("UNetOfTomorrow", said("model_index.json", unet=["diffusers", "UNetOfTomorrow"])),
        ("unet: .* of UNet2DConditionModel's weights", renamed("_orig_mod.", "unet")),
        ("vae: .* of AutoencoderKL's weights", without("decoder.conv_in", "vae")),
        ("text_encoder: .* weights, .* of further layers", said("text_encoder/config.json", num_hidden_layers=1)),
    ],
    "tiny": [
        ("of AutoencoderTiny's weights", renamed("_orig_mod.")),
    ],
}


@pytest.mark.parametrize(
    ("kind", "problem", "damage"), [(kind, *case) for kind, cases in BROKEN.items() for case in cases]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_folder_is_named_in_one_line(kind, problem, damage, sound, tmp_path):
    """What a plan reads of it, names and shapes of weights, gives the error of a run."""
    folder = shutil.copytree(sound / kind, tmp_path / kind)
    damage(folder)
    with pytest.raises((InputError, MissingError), match=problem) as caught:
        USES[kind](folder)
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value).splitlines()) == 1
    if "finite" not in problem:
        with headers_only(), pytest.raises(type(caught.value), match=re.escape(str(caught.value))):
            USES[kind](folder)


@pytest.mark.parametrize("kind", USES)
def test_sound_folders_are_read(kind, sound):
    USES[kind](sound / kind)
    with headers_only():
        USES[kind](sound / kind)


def test_a_learner_gets_a_fresh_head(sound, tmp_path):
    """Of a checkpoint without one, or of other classes."""
    folder = shutil.copytree(sound / "learner", tmp_path / "learner")
    without("classifier")(folder)
    assert USES["learner"](folder).model.classifier.out_features == 2


def test_a_plan_says_that_weights_are_broken(sound, tmp_path):
    """It reads the headers to know the cost."""
    folder = shutil.copytree(sound / "language", tmp_path / "language")
    content(HUGE)(folder)
    section = CausalLMConfig(kind="causal-lm", model=str(folder))
    with refusal(r"model.safetensors is no whole file of safetensors"):
        section.image_cost(None, None)


def test_the_last_layer_of_timm_is_what_its_config_says():
    timm = SimpleNamespace(timm_model=SimpleNamespace(pretrained_cfg={"classifier": ("head", "head_dist")}))
    names = ("timm_model.head.weight", "timm_model.head_dist.bias", "timm_model.header.weight", "timm_model.norm.bias")
    assert [is_of_head(timm, name) for name in names] == [True, True, False, False]
