"""The arms that register as those of another package would: covariance matching and a linear probe."""

import numpy as np
import pytest
import tomli_w
import torch
from dp_experiments.cli.real.compare import default_arms
from dp_experiments.compare.arms import encoders
from dp_experiments.compare.arms.covariance import matching
from dp_experiments.compare.arms.probe import probe
from dp_experiments.presets.presets import load_preset
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, ViTConfig, ViTModel

from dp_real.config import parse_config
from dp_real.config.arms import arm_config
from dp_real.plan import forecast
from dp_real.pool import Pool
from dp_real.runs.run import run
from dp_real.text.learners import BagOfWordsConfig
from dp_real.text.sources import TextConfig
from tests.commands import done, refused, told
from tests.dp_real.conftest import SMALL
from tests.dp_real.generators.tiny_pipelines import VIT, vit_processor
from tests.refusals import refusal

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(30, 4)) @ np.diag([3.0, 1.0, 0.3, 1.0])
DRAWN = RNG.normal(size=(80, 4)) + 0.5


@pytest.fixture
def config():
    return parse_config(SMALL | {"generator": {"kind": "denoiser", "training": "none"}})


def distance(rows):
    return float(np.linalg.norm(np.cov(rows, rowvar=False) - np.cov(REAL, rowvar=False)))


def test_each_step_of_covariance_matching_is_the_best_one():
    chosen = matching(DRAWN, REAL, 12).tolist()
    assert chosen[0] == np.linalg.norm(DRAWN - REAL.mean(axis=0), axis=1).argmin()
    for n in range(1, 12):
        left = [row for row in range(len(DRAWN)) if row not in chosen[:n]]
        assert chosen[n] == min(left, key=lambda row: distance(DRAWN[[*chosen[:n], row]]))


def test_a_pool_keeps_those_that_match_their_class(config, tmp_path):
    """Of twice as many, which the costs count; after a kill, the same ones."""
    settled = arm_config(config, "covariance-60@practice.oversample=2")
    assert forecast.images(settled) == (120, 0)
    result = run(settled, tmp_path / "run")
    assert (result["samples_generated"], result["pool_size"], result["additions"]) == (120, 60, 0)
    pool = Pool.latest(tmp_path / "run" / "pool", (1, 8, 8))
    assert pool.y.bincount().tolist() == [6] * 10
    everything = arm_config(config, "static-120")
    run(everything, tmp_path / "all")
    drawn = Pool.latest(tmp_path / "all" / "pool", (1, 8, 8))
    data = config.data.load()
    features = encoders.features_of(settled, data.train)
    for label in range(10):
        of_class = drawn.x[:][drawn.y == label]
        kept = matching(features(of_class), features(data.validation.x[:][data.validation.y == label]), 6)
        assert torch.equal(pool.x[:][pool.y == label], of_class[np.sort(kept)])


def test_a_class_without_real_examples_has_no_covariance(config, patch, tmp_path):
    data = config.data.load()
    data.validation.y[data.validation.y == 3] = 4
    patch(type(config.data), "load", lambda self: data)
    with refusal("'3' has fewer than two validation examples"):
        run(arm_config(config, "covariance-60"), tmp_path / "run")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """Encoders of images, the first of which reads texts, too; the last has a pooling layer without meaning."""
    torch.manual_seed(0)
    image = VIT | {"image_size": 16}
    clip = CLIPModel(CLIPConfig(text_config=VIT, vision_config=image, projection_dim=8))
    models = {
        "clip": (clip, CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)),
        "vit": (ViTModel(ViTConfig(**image)), vit_processor()),
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in models}
    for name, parts in models.items():
        for part in parts:
            part.save_pretrained(folders[name])
    return {name: str(folder) for name, folder in folders.items()}


def test_any_encoder_of_transformers(config, seeing):
    x = config.data.load().validation.x[:7]
    for name, width in (("clip", 8), ("vit", 16)):
        settled = arm_config(config, f"static@practice.encoder={seeing[name]}")
        features = encoders.features_of(settled, None)(x)
        assert features.shape == (7, width)
        assert features.std(axis=0).min() > 0
    assert np.array_equal(encoders.features_of(config, None)(x), x.flatten(1).numpy())
    own_texts = TextConfig(source="text", classes=("a", "b"), validation="texts.csv")
    with refusal("has no features: take a learner that is a network, and for texts data.train"):
        encoders.features_of(load_preset("text-own-smoke").model_copy(update={"data": own_texts}), None)
    of_words = config.model_copy(update={"learner": BagOfWordsConfig(kind="bag-of-words")})
    for name in ("covariance", "probe"):
        with refusal("kind = 'bag-of-words' has no features"):  # before anything is drawn or trained
            arm_config(of_words, name)


def test_what_generates_nothing_comes_first_where_it_can(config, seeing, tmp_path):
    """The probe sees as many real images as others train on, and the loop half of them."""
    few = SMALL | {"data": {"source": "digits", "real_per_class": 4}, "training": {"steps": 20}}
    encoder = SMALL["practice"] | {"encoder": seeing["vit"]}
    for sections, first in (
        (SMALL, []),
        (few, ["real"]),
        (SMALL | {"practice": encoder}, ["probe"]),
        (few | {"practice": encoder, "compare": {"arms": ["practice", "static"]}}, []),
    ):
        assert default_arms(parse_config(sections)) == [*first, "practice", "static"]
    file = tmp_path / "few.toml"
    small = {"practice": encoder | {"additions": 1}, "generator": {"kind": "denoiser", "training": "none"}}
    file.write_text(tomli_w.dumps(few | small))
    arms = told("real compare", file, "--seeds 1 --workers 1 --out", tmp_path / "out")["arms"]
    kept = {arm["series"]: arm["kept"] for arm in arms}
    assert kept == {"real": 40, "finetune": 40, "probe": 40, "practice": 80, "static": 140}


def test_a_probe_gives_a_class_no_probability(config, patch):
    """Where a test example lies far from all that the probe has seen; no warning is printed."""
    far = lambda x: x[: x.shape[0]].flatten(1).double().numpy() * (1 if x.shape[0] == 250 else 1e9)  # noqa: E731
    patch(encoders, "features_of", lambda config, real: far)
    assert 0.2 < probe(config)["test_accuracy"] < 0.9


def test_a_probe_needs_two_real_examples_of_a_class(config):
    with refusal("arm probe: cross-validation needs two real examples of a class"):
        probe(arm_config(config, "probe@data.real_per_class=1"))


def test_arms_that_generate_nothing_are_compared(config, tmp_path, monkeypatch):
    file = tmp_path / "small.toml"
    file.write_text(config.to_toml())
    command = ["real compare", file, "--seeds 1 --workers 1 --out", tmp_path / "out", "--arms"]
    arms = "probe,static-60"
    probe, static = told(*command, arms)["arms"]
    assert probe["kept"] == 250  # the validation images that it has learned from
    assert probe["y"] > max(90, static["y"])
    done("real report", tmp_path / "out")
    assert "probe" in (tmp_path / "out" / "report.html").read_text()
    kept = tmp_path / "out" / "runs" / "probe-seed0" / "result.json"
    before = kept.stat().st_mtime_ns
    done(*command, arms, "--resume")
    assert kept.stat().st_mtime_ns == before
    with monkeypatch.context() as patch:
        patch.setattr("dp_experiments.compare.compare.input_digests", lambda *given: {"test": "another"})
        done(*command, arms, "--resume")
    assert kept.stat().st_mtime_ns > before
    assert "none of them trains on samples" in refused(*command, "probe --resume")
    command[-2] = tmp_path / "two"
    assert "not finite" in done(*command, "static-60,probe@training.learning_rate=1e30", status=2).err
    assert not [*tmp_path.glob("two/runs/*")]  # what would fail later is looked at first
