"""`dp real sample`: what it draws, at which noise, and what the classifier says of it."""

import itertools
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from dp_experiments.paper.digits_runs import OMEGA
from dp_experiments.paper.figures import grid_omega, grid_rounds
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import softmax
from scipy.stats import entropy

from dp_real import Run
from dp_real.config import parse_config
from dp_real.generators.models.stable_diffusion import make_pipeline
from tests.commands import done, refused, told
from tests.dp_real.conftest import SMALL
from tests.dp_real.generators.tiny_pipelines import tiny_vit, vit_processor
from tests.dp_real.runs.folders import all_rows
from tests.experiments.conftest import GUIDED
from tests.refusals import refusal

NAMES = ("cat", "dog", "em/u")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A classifier of transformers that knows other classes and takes colour images of another size."""
    folder = tmp_path_factory.mktemp("vit")
    model = tiny_vit()
    model.classifier.weight.data *= 20  # else it is sure of nothing, and guidance has nothing to change
    model.config.id2label = {0: "emu, em/u, big bird", 1: "Cat", 2: "3"}
    for part in (model, vit_processor()):
        part.save_pretrained(folder)
    return folder


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image).astype(float)


def probabilities(weights, file):
    """The class probabilities of the digits perceptron for an image, written out."""
    hidden = np.maximum(weights["1.weight"] @ (pixels(file).ravel() / 127.5 - 1) + weights["1.bias"], 0)
    return softmax(weights["3.weight"] @ hidden + weights["3.bias"])


def test_plain_images_are_those_of_the_initial_round_and_guidance_starts_from_the_same_noise(guided_run, tmp_path):
    """The number-th of a class is row 10 * number + class of the pool. A tiny strength hardly changes it."""
    done("real sample", guided_run, "--omega 0,0.001,0.08 --classes 7,3 --n 2 --out", tmp_path)
    pool = all_rows(guided_run)
    for number, label in itertools.product((0, 1), (3, 7)):
        plain, weak, strong = (pixels(tmp_path / f"omega-{w}/{label}-{number}.png") for w in ("0", "0.001", "0.08"))
        expected = (np.reshape(pool[10 * number + label]["example"], (8, 8)) + 1) * 127.5
        np.testing.assert_allclose(plain, expected, atol=0.51)
        assert 0 < abs(weak - plain).mean() < 0.2 * abs(strong - plain).mean()


def test_entropies_and_answers_are_those_of_the_runs_learner(guided_run, tmp_path):
    out = tmp_path / "out"
    answer = told("real sample", guided_run, "--omega 0,0.08 --set seed=5 --n 3 --out", out)
    samples = answer["samples"]
    assert [row["omega"] for row in answer["rows"]] == [0, 0.08]
    assert [f"{row['class']}-{row['number']}" for row in samples[:4]] == ["0-0", "0-1", "0-2", "1-0"]
    assert pd.read_csv(out / "samples.csv")["file"].tolist() == [row["file"] for row in samples]
    assert len(samples) == 2 * 10 * 3
    weights = load_file(guided_run / "learner" / "model.safetensors")
    for row in samples:
        p = probabilities(weights, out / row["file"])
        assert row["entropy"] == pytest.approx(entropy(p), abs=0.06)  # the files are rounded to bytes
        if np.sort(p)[-1] - np.sort(p)[-2] > 0.06:
            assert row["predicted"] == str(p.argmax())
        assert row["as_asked"] == (row["predicted"] == row["class"])
    plain, guided = answer["rows"]
    assert guided["entropy"] > plain["entropy"] + 0.2
    assert guided["as_asked"] == np.mean([row["as_asked"] for row in samples[30:]])


def test_along_a_run(guided_run, tmp_path):
    """A row a checkpoint, guided as strongly as the addition was; the learner before it had seen that many examples."""
    rows = told("real sample", guided_run, "--along --classes 1,2 --out", tmp_path / "out")["samples"]
    learned = [(row["pool_size"], round(row["omega"], 6)) for row in rows[::2]]
    assert learned == [(40, 0), (40, 0.04), (60, 0.04)]
    first, second = sorted((guided_run / "checkpoints").glob("step-*"))
    for checkpoint, of_it in ((first, rows[:4]), (second, rows[4:])):
        saved = load_file(checkpoint / "learner.safetensors")
        weights = {name.removeprefix("module."): value for name, value in saved.items()}
        for row in of_it:
            p = probabilities(weights, tmp_path / "out" / row["file"])
            assert row["entropy"] == pytest.approx(entropy(p), abs=0.06)


def test_where_no_addition_was_guided_a_remedy_helps(copied, here):
    words = ("real sample", copied, "--along --omega 0 --out out")
    assert refused(*words).endswith("no addition was guided: give --omega strengths above 0")
    for checkpoint in (copied / "checkpoints").glob("step-*"):
        shutil.rmtree(checkpoint)
    assert refused(*words).endswith("no addition was guided: leave out --along")


def test_a_transformers_classifier_on_digits(guided_run, vit, tmp_path):
    """It knows one of the classes; the preset's own generator needs no run."""
    rows = told("real sample digits", GUIDED, "--classifier", vit, "--classes 2,3 --out", tmp_path / "out")["samples"]
    assert [row["omega"] for row in rows[::2]] == [0, 0.01, 0.02, 0.05]
    for row in rows:
        assert row["as_asked"] == (None if row["class"] == "2" else row["predicted"] == "3")
    assert all(0 < row["entropy"] <= math.log(3) + 1e-6 for row in rows)


def test_text_prompts_need_no_real_images(vit, tmp_path):
    """A Stable Diffusion folder and a file with class names; the images are in colour, and classified by name."""
    torch.manual_seed(0)
    pipe = make_pipeline(32, [f"a photo of a {name}" for name in NAMES])
    pipe.save_pretrained(tmp_path / "pipe", safe_serialization=True)
    own = tmp_path / "own.toml"
    own.write_text(f"""
        [data]
        source = "folder"
        classes = {json.dumps(NAMES)}
        validation = "{tmp_path / "nowhere"}"
        size = 24
        [generator]
        kind = "diffusers"
        model = "{tmp_path / "pipe"}"
        [sampling]
        steps = 3
        guidance_scale = 3.0
        [learner]
        kind = "conv"
        [training]
        steps = 10
        [practice]
        initial = 6
        """)
    out = tmp_path / "out"
    rows = told("real sample", own, "--classifier", vit, "--omega 0,0.3 --n 2 --out", out)["samples"]
    assert pixels(out / "omega-0.3" / "em_u-1.png").shape == (24, 24, 3)
    asked = {"cat": "Cat", "em/u": "emu, em/u, big bird"}
    for row in rows:
        assert row["as_asked"] == (None if row["class"] == "dog" else row["predicted"] == asked[row["class"]])
    plain, guided = np.array([row["entropy"] for row in rows]).reshape(2, 6)
    assert (guided > plain).all()
    assert all((out / f"samples.{kind}").stat().st_size > 1000 for kind in ("png", "pdf"))


def test_names_of_a_classifier():
    from dp_experiments.show.judge import Judge, accepted_answers, confirmed

    cranes = ["crane", "goldfish, Carassius auratus", "crane, machine"]
    assert accepted_answers(cranes, ["Goldfish", "crane", "emu"]) == [{1}, {0, 2}, set()]
    assert accepted_answers(cranes, cranes) == [{0}, {1}, {2}]
    assert accepted_answers(["LABEL_0", "LABEL_1"], ["a", "b"]) == [{0}, {1}]  # by position
    assert accepted_answers(["LABEL_0", "LABEL_1"], ["a", "b", "c"]) == [set()] * 3
    with refusal("no class called emu"):
        confirmed(Judge(torch.relu, [], [set()], ["emu"]), torch.empty(1), np.zeros(1, int))
    source = {"source": "folder", "validation": "nowhere", "classes": "imagenet100", "size": 8}
    classes = parse_config(SMALL | {"data": source}).task.classes
    first, *others = accepted_answers([str(label) for label in range(1000)], classes)
    assert (first, len(others)) == ({452}, 99)  # bonnet, the first class of ImageNet-100, is the 453rd of all


def test_the_papers_grids_of_a_run(guided_run, patch):
    """Figs. 10 to 13: a plain row and one for each learner; and multiples of a strength."""
    for module in (grid_rounds, grid_omega):
        patch(module, "shown_run", lambda: Run(guided_run))
    rounds, omegas = (module.compute(quick=True) for module in (grid_rounds, grid_omega))
    assert [name.split("  ")[0] for name in rounds["row"].unique()] == ["plain", "40 samples", "60 samples"]
    np.testing.assert_allclose(omegas["omega"].unique()[[0, 3, 7]], [0, OMEGA, 15 * OMEGA])
    pixels = rounds.columns[rounds.columns.str.startswith("pixel_")]
    np.testing.assert_array_equal(rounds[pixels].iloc[:10], omegas[pixels].iloc[:10])  # plain, from the same noise
    assert not np.array_equal(omegas[pixels].iloc[:10], omegas[pixels].iloc[30:40])
    assert "Images generated in a run of digits" in grid_rounds.caption(rounds)
