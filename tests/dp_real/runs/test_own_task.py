"""A task of one's own from end to end: folders of pictures, a small pipeline trained on them, a ViT, what is left."""

import re
import shutil
import tomllib

import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from huggingface_hub import ModelCard
from PIL import Image

from dp_base.errors import MissingError
from dp_real import Pool, Run, run
from dp_real.config import parse_config
from dp_real.data.sets.images import read_image, read_set
from dp_real.data.sets.places import locate
from dp_real.evaluate.card import model_card
from dp_real.pool.export import write_folder, write_parquet
from dp_real.runs.afterwards import evaluate
from dp_real.runs.conclude import conclude
from dp_real.runtime.pixels import fit
from tests.dp_real.conftest import changed
from tests.dp_real.data.sets.made import pictures
from tests.dp_real.generators.tiny_pipelines import VIT
from tests.dp_real.pool.made import batch
from tests.dp_real.runs.folders import json_lines, reword
from tests.refusals import refusal

SHAPE = (3, 16, 16)
CLASSES = ("cat", "dog", "em/u")
LINEAR = "learner={kind='linear', lam=0.1}", "training={steps=6, batch_size=0}"


PLAN = tomllib.loads("""
name = "own"
threads = 1
data = { source = "folder", classes = ["cat", "dog", "em/u"], size = 16 }
generator = { kind = "latent", training = "none" }
sampling = { steps = 2, block_size = 4 }
guidance = { omega = 0.1, through = "x0" }
training = { steps = 6, batch_size = 4, learning_rate = 0.01, ema_decay = 0.5 }
practice = { initial = 5, increment = 4, additions = 1, patience = 1, evaluate_every = 1 }
""")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    data = {name: str(pictures(root / name, ["cat", "dog", "em_u"])) for name in ("validation", "train")}
    data["sets"] = {"two": str(pictures(root / "two", ["2", "0"], count=3))}
    learner = {"kind": "transformers", "config": VIT}
    return parse_config(PLAN | {"data": PLAN["data"] | data, "learner": learner})


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    run(config, folder)
    return folder


@pytest.fixture
def pool(finished):
    return Run(finished).pool


@pytest.mark.usefixtures("here")
def test_its_card_states_the_facts(finished, config):
    facts = Run(finished).result
    card = model_card(config, facts)
    told = ModelCard(card).data
    assert told.library_name == "transformers"
    measured = {each.dataset_split: each.metric_value for each in told.eval_results}
    assert measured == {"validation": facts["val_accuracy"], "test": facts["test_accuracy"], "two": 0.5}
    measured = f"| accuracy on test examples | {facts['test_accuracy']:.4f} |"
    for said in ("generated examples only", "from scratch", measured, "| training examples | 9 |", "2502.15588"):
        assert said in card
    seconds = {"seconds": 1234.56, "generation_seconds": 0.25}
    assert "| seconds | 1,234.6, 0.2 of them for generation |" in model_card(config, facts | seconds)
    use, _, last = card.split("```python\n")[1].split("\n```")[0].rpartition("\n")
    Image.new("RGB", (20, 20), "red").save("image.png")
    scope = {}
    exec(use.replace("LEARNER", f"{finished}/learner"), scope)
    assert {row["label"] for row in eval(last, scope)} == set(CLASSES)
    embedded = card.split("```toml\n")[1].split("```")[0]
    assert parse_config(tomllib.loads(embedded)) == config

    begun = "learner.model=a/b", "learner.config={}"
    for settings, said in (
        (begun, "started from `a/b`, and knows what that was trained on"),
        (("practice.real=5", "practice.additions=0"), "the real examples that its generator"),
        (("practice.real=3",), "trained on 3 real examples, and generated ones"),
    ):
        assert said in model_card(changed(config, *settings), facts)
    elsewhere = changed(config, *begun, "data.test=hub:c/d@test#label")
    known = ModelCard(model_card(elsewhere, facts | {"sets": [{"set": "r", "accuracy": 0.5}]})).data
    assert known.base_model == ["a/b"]
    assert [each.dataset_type for each in known.eval_results] == ["folder", "c/d", "folder"]


def test_a_pool_may_keep_larger_images_than_the_learner_sees(config, finished, tmp_path):
    settings = "pool.size=24", "pool.storage=jpeg", "training.crop=0.5", "training.flip=true"
    run(changed(config, *settings), tmp_path / "larger")
    larger, usual = Run(tmp_path / "larger"), Run(finished)
    (x, y), (small, label) = larger.pool[4], usual.pool[4]
    assert x.shape == (3, 24, 24)
    assert y == label
    assert (fit(x[None], SHAPE)[0] - small).abs().mean() < 0.1  # for JPEG and what resizing takes
    assert larger.learner().logits(x[None]).shape == (1, 3)
    assert larger.result["training_flops"] == usual.result["training_flops"]
    with refusal(r"pool\.size = 8: must be 0, or at least the side of .*\[3, 16, 16\]"):
        run(changed(config, "pool.size=8"), tmp_path / "smaller")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["generator={kind='denoiser'}"], "pool.size = 32 is for pipelines; generator.kind = 'denoiser' needs 0"),
        (LINEAR, "pool.size = 32 is for networks; learner.kind = 'linear' needs 0"),
        (["practice.real=3"], "pool.size = 32: real examples have only the learner's size"),
    ],
)
def test_what_has_one_size_only_fills_no_pool_of_larger_images(config, settings, message):
    with refusal(re.escape(message)):
        changed(config, "pool.size=32", *settings)


# evaluation


def test_sets_are_masked_to_their_classes(finished, config, caplog):
    learner = Run(finished).learner()

    def accuracy(images, classes):
        logits = learner.logits(images.x[:] / 127.5 - 1)
        return (torch.tensor(classes)[logits[:, classes].argmax(1)] == images.y).double().mean().item()

    data, found = config.data.load(), Run(finished).result
    rows = {row["set"]: row for row in evaluate(Run(finished), {"more": config.data.validation})}
    assert [*rows] == ["validation", "test", "two", "more"]
    for known in ("train", "validation"):
        assert f"12 of 12 examples of more that were checked are in {known}, too" in caplog.text
    whole, part = accuracy(data.validation, [0, 1, 2]), accuracy(data.sets["two"], [0, 2])
    assert whole == found["val_accuracy"] == found["test_accuracy"] == rows["validation"]["accuracy"]
    assert found["test_balanced_accuracy"] == pytest.approx(whole)  # classes are equal here
    assert rows["more"] | {"set": "validation"} == rows["validation"]
    assert (rows["validation"]["images"], rows["validation"]["classes"]) == (12, 3)
    error = (part * (1 - part) / 6) ** 0.5
    assert rows["two"] == {"set": "two", "accuracy": part, "se": pytest.approx(error), "images": 6, "classes": 2}
    assert found["sets"] == [rows["two"]]


def test_its_learner_is_judged_elsewhere(finished, tmp_path, caplog):
    """On another machine, where the run's own images are not."""
    there = shutil.copytree(finished, tmp_path / "run")
    reword(there / "config.toml", Run(finished).config.data.validation, "/nowhere")
    (row,) = evaluate(Run(there), {"one": pictures(tmp_path / "one", ["em_u"])})
    assert (row["set"], row["accuracy"] < 1) == ("one", True)
    assert "the run's own sets are left out: /nowhere: no such folder" in caplog.text
    with refusal("nowhere", MissingError):
        evaluate(Run(there), {})


def test_classes_of_folders_are_in_the_record(config, tmp_path):
    folders = {name: str(pictures(tmp_path / name, ["ape", "bee"])) for name in ("validation", "train")}
    places = "data={{source='folder', size=16, validation='{validation}', train='{train}'}}".format(**folders)
    unnamed = changed(config, places, *LINEAR, "guidance.omega=0")
    run(unnamed, tmp_path / "run")
    assert Run(tmp_path / "run").config.data.classes == ("ape", "bee")
    assert run(unnamed, tmp_path / "run", resume=True)["pool_size"] == 9
    for name in folders:
        (tmp_path / name / "ape").rename(tmp_path / name / "cow")
    with refusal("another configuration"):
        run(unnamed, tmp_path / "run", resume=True)
    with refusal("cow is none of the 2 classes"):
        evaluate(Run(tmp_path / "run"), {})


def test_what_cannot_be_evaluated(finished, tmp_path):
    with refusal(r"two=.*: the run has a set called two; give this one another name"):
        evaluate(Run(finished), {"two": pictures(tmp_path / "two", ["cat"])})
    (tmp_path / "config.toml").write_bytes((finished / "config.toml").read_bytes())
    with refusal(r"not finished.*dp real resume"):
        evaluate(Run(tmp_path), {})


@pytest.mark.parametrize("place", ["test", "sets.broken"])
def test_a_set_that_is_broken_stops_a_run_before_it_begins(config, tmp_path, place):
    broken = pictures(tmp_path / "broken", ["cat", "dog", "em_u"], count=1)
    (broken / "dog/0.png").write_bytes(b"")
    with refusal(r"dog/0\.png: not a whole image"):
        run(changed(config, f"data.{place}={broken}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_that_breaks_meanwhile_does_not_cost_the_learner(config, tmp_path, monkeypatch):
    """The learner is saved, and once the image is mended, the run is resumed and ends."""
    further = pictures(tmp_path / "further", ["cat", "dog"], count=2)
    whole = (further / "dog/0.png").read_bytes()
    config = changed(config, f"data.sets={{further='{further}'}}")

    def breaks(*arguments):
        (further / "dog/0.png").write_bytes(b"")
        return conclude(*arguments)

    monkeypatch.setattr("dp_real.runs.run.conclude", breaks)
    with refusal(r"dog/0\.png"):
        run(config, tmp_path / "run")
    assert any((tmp_path / "run/learner").iterdir())
    (further / "dog/0.png").write_bytes(whole)
    monkeypatch.undo()
    assert [each["set"] for each in run(config, tmp_path / "run", resume=True)["sets"]] == ["further"]


# export


def test_exported_as_a_folder_and_as_parquet(pool, tmp_path, config):
    """A folder is a set of real images to others."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_folder(pool, CLASSES, folder)
    write_parquet(pool, CLASSES, tmp_path)
    rows = json_lines(folder / "metadata.jsonl")
    table = pool.table()
    loaded = load_dataset("parquet", data_files=f"{tmp_path}/train.parquet", cache_dir=f"{tmp_path}/cache")["train"]
    assert [row["label"] for row in rows] == [CLASSES[label] for label in pool.y.tolist()]
    for key in ("row", "round", "omega", "entropy", "correct"):
        assert [row[key] for row in rows] == table[key].to_pylist()
    assert [row["seed"] for row in rows] == [*map(str, table["seed"].to_pylist())]  # up to 2^64, for all readers
    assert loaded.features["label"].names == [*CLASSES]
    for key in ("label", "seed"):
        assert [*loaded[key]] == table[key].to_pylist()
    for row, picture, x in zip(rows, loaded["image"], pool.x[:], strict=True):
        picture.save(tmp_path / "one.png")
        for file in (folder / row["file_name"], tmp_path / "one.png"):
            assert read_image(file, 16, 3).equal(((x + 1) * 127.5).round().to(torch.uint8))
    again = read_set(locate(str(folder)), config.data.labels, SHAPE, range(3), keep=True)
    assert again.y.tolist() == sorted(pool.y.tolist())


def test_class_folders_are_no_splits(pool, tmp_path):
    names = ("train", "test_tube", "val")
    write_folder(pool, names, tmp_path)
    loaded = load_dataset(str(tmp_path), cache_dir=f"{tmp_path}/cache")
    assert [*loaded] == ["train"]
    assert sorted(loaded["train"]["label"]) == sorted(names[label] for label in pool.y.tolist())


@pytest.mark.parametrize("shape", [(768,), (6, 8, 16)])
def test_a_pool_without_images(pool, tmp_path, shape):
    """Its numbers go to Parquet as they are; pictures there are none, nor of other than 1 or 3 channels."""
    flat = Pool(tmp_path / "pool", shape)
    flat.append(0, batch(flat, pool.x[:].view(-1, *shape)))
    with refusal(r"no images.*--format parquet"):
        write_folder(flat, CLASSES, tmp_path)
    write_parquet(flat, CLASSES, tmp_path)
    examples = pq.read_table(tmp_path / "train.parquet")["example"].to_pylist()
    assert torch.tensor(examples).equal(pool.x[:].flatten(1))
