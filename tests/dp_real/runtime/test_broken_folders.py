"""A broken or hostile folder of a model ends in one line that names it, within seconds, and no code of it is run."""

import shutil
import struct
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dp_base.errors import InputError
from dp_real.examples import Task
from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.generators.pipelines.loading import load_pipeline
from dp_real.learners.models.classifier import known_classifier
from dp_real.sections import SamplingConfig
from dp_real.text.language_models import CausalLMConfig
from dp_real.text.models.sequence_classifier import known_classifier as known_text_classifier
from dp_real.text.sources import StandInTextConfig
from tests.dp_real.generators.tiny_pipelines import save_vit
from tests.dp_real.runs.folders import halve, set_keys
from tests.dp_real.text.made import encoder, language_model

NESTED = 200_000 * "["


def ask(folder):
    config = CausalLMConfig(kind="causal-lm", model=str(folder), prompts=("a {}",), chat=True, max_new_tokens=4)
    config.load(SamplingConfig(), StandInTextConfig(source="stand-in-text")).sample(
        torch.tensor([0, 1]), np.array([1, 2], np.uint64), None
    )


USES = {
    "language": ask,
    "images": lambda folder: known_classifier(str(folder), (3, 16, 16), {}),
    "texts": lambda folder: known_text_classifier(str(folder), Task((64,), ("a", "b")), 32),
    "pipeline": lambda folder: load_pipeline(str(folder)),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of each kind that can be used."""
    place = tmp_path_factory.mktemp("sound")
    language_model(place / "language")
    encoder(place / "texts", classes=2)
    save_vit(place / "images")
    make_pipeline(16, ["a"]).save_pretrained(place / "pipeline")
    return place


def weights(folder):
    return next(folder.glob("*.safetensors"))


def header(part=""):
    return lambda folder: weights(folder / part).write_bytes(struct.pack("<Q", 2**62) + b"{}")


def cut(folder):
    halve(weights(folder))


def emptied(folder):
    weights(folder / "text_encoder").write_bytes(b"none")


def filled(value, part=""):
    def fill(folder):
        file = weights(folder / part)
        tensors = load_file(file)
        name = sorted(tensors)[len(tensors) // 2]
        tensors[name] = torch.full_like(tensors[name], value)
        save_file(tensors, file, metadata={"format": "pt"})

    return fill


def said(file="config.json", **changes):
    return lambda folder: set_keys(folder / file, **changes)


def written(file, text):
    return lambda folder: (folder / file).write_text(text, encoding="utf-8")


TEMPLATE = "chat_template.jinja"
PROCESSOR = "preprocessor_config.json"
BROKEN = [
    ("language", "header too large", header()),
    ("language", "no whole file of safetensors", cut),
    ("language", "is not finite", filled(float("nan"))),
    ("language", "ZeroDivisionError", said(n_head=0)),
    ("language", "much more than the 38,144 numbers", said(n_layer=10**5)),
    ("language", "much more than the 38,144 numbers", said(n_embd=10**9)),
    ("language", "negative dimension", said(n_embd=-4)),
    ("language", "expected int, got str", said(n_layer="many")),
    ("language", "RecursionError", written("config.json", NESTED)),
    ("language", "no prompt could be read: TemplateSyntaxError", written(TEMPLATE, "{% for %}")),
    ("language", "TemplateError: no", written(TEMPLATE, "{{ raise_exception('no') }}")),
    ("language", "SecurityError", written(TEMPLATE, "{{ ''.__class__.__mro__[1].__subclasses__() }}")),
    ("language", "no tokenizer could be read: KeyError", written("tokenizer.json", "{}")),
    ("images", "much more than the", said(image_size=10**8)),
    ("images", "no image processor could be read: AttributeError", written(PROCESSOR, "[1]")),
    ("images", "see its image_mean and image_std", said(PROCESSOR, image_std=[0, 0, 0])),
    ("texts", "much more than the", said(num_hidden_layers=10**5)),
    ("pipeline", "header too large", header("unet")),
    ("pipeline", "model.safetensors is no whole file of safetensors: .*: header too small$", emptied),
    ("pipeline", "is not finite", filled(float("nan"), "unet")),
    ("pipeline", "much more than the", said("text_encoder/config.json", num_hidden_layers=10**5)),
    ("pipeline", "RecursionError", written("model_index.json", NESTED)),
    ("pipeline", "no diffusers pipeline could be read: TypeError", written("model_index.json", "[1]")),
]


@pytest.mark.parametrize(("kind", "problem", "damage"), BROKEN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_folder_is_named_in_one_line(kind, problem, damage, sound, tmp_path):
    folder = shutil.copytree(sound / kind, tmp_path / kind)
    damage(folder)
    begin = time.monotonic()
    with pytest.raises(InputError, match=problem) as caught:
        USES[kind](folder)
    assert time.monotonic() - begin < 60  # seconds on an idle machine; without the bounds, hours
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", USES)
def test_sound_folders_are_read(kind, sound):
    USES[kind](sound / kind)


def test_a_plan_says_that_weights_are_broken(sound, tmp_path):
    """It reads the headers to know the cost."""
    folder = shutil.copytree(sound / "language", tmp_path / "language")
    header()(folder)
    section = CausalLMConfig(kind="causal-lm", model=str(folder))
    with pytest.raises(InputError, match=r"model.safetensors is no whole file of safetensors"):
        section.image_cost(None, None)
