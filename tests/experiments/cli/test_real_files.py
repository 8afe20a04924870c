"""`dp real init | export | evaluate` as a person meets them."""

import itertools
import json
import logging
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.commands import VisibleFormatter
from dp_experiments.cli.real.remarks import judged_twice
from dp_experiments.looking.sample import without_formulas
from dp_experiments.terminal import say, table
from PIL import Image

from dp_real.config import load_config, parse_config
from tests.experiments.conftest import run_dp as dp


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    return err


# init


def test_init_writes_a_file_that_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dp("real", "init", "pets") == 0
    assert "dp real run pets.toml" in complaint(capsys)
    text = Path("pets.toml").read_text()
    assert "{name}" not in text
    config = load_config(Path("pets.toml"))
    assert (config.name, config.samples, config.guidance.omega) == ("pets", 10_000, "auto")
    assert "at most 2000 + 8 * 1000 = 10000" in text

    assert dp("real", "init", "pets.toml") == 2
    assert "exists and stays as it is" in complaint(capsys)
    assert Path("pets.toml").read_text() == text
    assert dp("real", "init", "no/such/folder/pets") == 2
    assert "cannot be written" in complaint(capsys)

    assert dp("real", "run", "pets.toml") == 3  # its images are not there yet
    assert "validation: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "learner", "side"),
    [("images", "transformers", 224), ("latent", "conv", 32), ("denoiser", "conv", 8), ("function", "conv", 32)],
)
def test_init_for_each_generator_says_what_its_keys_are(
    kind: str, learner: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Above each key, or the group of keys that it stands in, there is a comment."""
    monkeypatch.chdir(tmp_path)
    assert dp("real", "init", "small", "--kind", kind) == 0
    text = Path("small.toml").read_text()
    assert "{name}" not in text
    config = load_config(Path("small.toml"))
    assert config.generator.kind == {"images": "diffusers"}.get(kind, kind)
    assert config.generator.trained_here == ("train" in tomllib.loads(text)["data"])
    assert (config.learner.kind, config.task.sample_shape[-1]) == (learner, side)
    explained = False
    for line in text.splitlines():
        if line.startswith("#"):
            explained = True
        elif re.match(r"\w+ = ", line):
            assert explained, f"{line} comes before any comment of its section"
        elif line.startswith("["):
            explained = False


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of ten patients, who have four small grey images each."""
    monkeypatch.chdir(tmp_path)
    for label in ("ill", "well"):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for patient, image in itertools.product(range(10), range(4)):
            pixels = np.full((9, 8), 100 * (label == "ill") + patient + image, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / label / f"{label}-{patient:02d}_{image}.png")
    return tmp_path / "scans"


def test_init_from_a_folder_divides_it_by_groups_and_runs(scans: Path, capsys: pytest.CaptureFixture[str]):
    assert dp("real", "init", "lungs", "--from", scans) == 0
    text = Path("lungs.toml").read_text()
    config = load_config(Path("lungs.toml"))
    assert (config.generator.kind, config.task.sample_shape) == ("denoiser", (1, 8, 8))
    assert config.task.classes == ("ill", "well")
    assert "There are" not in text  # no lists of kinds that do not apply
    sets = {name: list(Path("lungs-data", name).glob("*/*")) for name in ("train", "validation", "test")}
    assert len(sets["train"]) == 40
    assert sorted(map(len, sets.values())) == [16, 24, 40]  # of ten patients a class, 2.5 would be a quarter
    patients = [{file.stem[:-2] for file in files} for files in sets.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 20
    assert all(file.is_symlink() for files in sets.values() for file in files)
    few = ("generator.training=none", "training.steps=4", "practice.initial=4", "practice.additions=0")
    assert dp("real", "run", "lungs.toml", *(part for key in few for part in ("--set", key))) == 0
    capsys.readouterr()
    assert dp("real", "init", "lungs2", "--from", scans, "--kind", "text") == 2
    assert "has images" in complaint(capsys)
    assert not Path("lungs2-data").exists()  # a refusal leaves nothing that the next try would stumble over


def test_init_from_sets_keeps_them_and_few_examples_are_refused(scans: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("train", "val"):
        shutil.copytree(scans, Path("sets", name))
    assert dp("real", "init", "lungs", "--from", "sets", "--kind", "latent") == 0
    data = tomllib.loads(Path("lungs.toml").read_text())["data"]
    assert (data["train"], data["validation"], data["size"]) == ("sets/train", "sets/val", 32)
    assert "test" not in data
    assert not Path("lungs-data").exists()
    capsys.readouterr()
    for file in sorted(Path(scans, "ill").iterdir())[2:]:
        file.unlink()
    assert dp("real", "init", "few", "--from", scans) == 2
    assert "2 of class ill are too few for three sets" in complaint(capsys)
    Path("sets/val").rename("sets/test")
    assert dp("real", "init", "none", "--from", "sets") == 2
    assert "none is for validation" in complaint(capsys)


def test_init_from_a_table_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lines = [f'"a {word} film, number {row}",{word}' for row in range(20) for word in ("good", "bad")]
    Path("films.csv").write_text("text,label\n" + "\n".join(lines))
    assert dp("real", "init", "films", "--from", "films.csv") == 0
    config = load_config(Path("films.toml"))
    assert (config.generator.kind, config.learner.kind) == ("char-lm", "bag-of-words")
    real = config.data.load()
    assert real.generator is not None
    assert (len(real.generator.y), len(real.validation.y), len(real.test.y)) == (20, 10, 10)


def test_where_the_images_that_choose_also_judge_it_is_said():
    own = {"source": "folder", "validation": "val", "classes": ["a", "b"]}
    rest = {"name": "own", "generator": {"kind": "latent"}, "learner": {"kind": "conv"}, "practice": {"initial": 3}}
    rest |= {"training": {"steps": 1}}
    assert "data.test is not set" in (judged_twice(parse_config({"data": own} | rest)) or "")
    assert judged_twice(parse_config({"data": own | {"test": "test"}} | rest)) is None


# export


def test_export(guided_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "new" / "pool"
    assert dp("real", "export", guided_run, "--out", out, "--format", "folder", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"run": str(guided_run), "out": str(out), "format": "folder"}
    assert {path.name for path in out.iterdir()} == {*"0123456789", "metadata.jsonl"}
    assert len(list(out.rglob("*.png"))) == 80
    assert [path.name for path in out.parent.iterdir()] == ["pool"]  # nothing half-made is left beside it

    before = sorted(out.rglob("*"))
    assert dp("real", "export", guided_run, "--out", out, "--format", "parquet") == 2
    assert "is not empty" in complaint(capsys)
    assert sorted(out.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    assert dp("real", "export", guided_run, "--out", tmp_path / "empty", "--format", "parquet") == 0
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["train.parquet"]
    capsys.readouterr()

    assert dp("real", "export", guided_run, "--out", tmp_path / "other", "--format", "jsonl") == 2
    assert "its examples are images, which JSON has no place for; --format folder or parquet" in complaint(capsys)
    assert not (tmp_path / "other").exists()


# tables


def test_a_table_shows_texts_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What stands in brackets is markup to rich; a tab would begin another cell, a new line another row."""
    rows = [{"run": "pets [old]", "text": "[/INST] one\ttwo\nthree"}]
    table(rows, title="[b]")
    assert capsys.readouterr().out == "run\ttext\npets [old]\t[/INST] one\\ttwo\\nthree\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table(rows, title="[b]")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("pets [old]", "[/INST] one\\ttwo\\nthree", "[b]"))


@pytest.mark.parametrize("on_terminal", [False, True])
def test_no_text_commands_the_terminal(
    on_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A table, a line on stderr and a warning hold a foreign name that would clear the screen and set a title."""
    evil = "cat\x1b[2J\x1b]0;owned\x07\x9b1m\u202edog"
    spelled = r"cat\u001b[2J\u001b]0;owned\u0007\u009b1m\u202edog"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    monkeypatch.setenv("COLUMNS", "200")
    table([{"class": evil, evil: 1}], title=evil)
    say(f"{evil}\nnext\tline")
    record = logging.LogRecord("dp_real", logging.WARNING, "", 1, "%s is no image", (evil,), None)
    out, err = capsys.readouterr()
    err += VisibleFormatter().format(record)
    own_styles = r"\x1b\[\d+m"  # italics of the title and bold heads, on a terminal
    assert not set("\x1b\x07\x9b\u202e") & set(re.sub(own_styles, "", out) + err)
    assert out.count(spelled) + err.count(spelled) == 5
    assert f"{spelled}\nnext\tline\n" in err


def test_no_cell_of_an_exported_table_is_a_formula(tmp_path: Path):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "fine", "a=b"]
    frame = pd.DataFrame({"text": texts, "number": -1.5, "as_asked": None})
    without_formulas(frame).to_csv(tmp_path / "samples.csv", index=False)
    found = pd.read_csv(tmp_path / "samples.csv")
    assert found["text"].tolist() == [f"'{text}" for text in texts[:6]] + ["fine", "a=b"]
    assert (found["number"] == -1.5).all()


# evaluate


def test_evaluate(guided_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("3", "7"):
        (tmp_path / name).mkdir()
        Image.new("L", (20, 30)).save(tmp_path / name / "0.png")
    assert dp("real", "evaluate", guided_run, "--on", f"mine={tmp_path}", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    result = json.loads((guided_run / "result.json").read_text())
    assert [row["set"] for row in answer["sets"]] == ["validation", "test", "mine"]
    assert answer["sets"][0]["accuracy"] == result["val_accuracy"]
    assert answer["sets"][1]["accuracy"] == result["test_accuracy"]
    assert (answer["sets"][2]["classes"], answer["sets"][2]["accuracy"]) == (2, 0.5)

    assert dp("real", "evaluate", guided_run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["set", "examples", "classes", "accuracy", "se"]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("on", "status", "message"),
    [
        (["sketch"], 2, "--on sketch: must read NAME=WHERE"),
        (["test=somewhere"], 2, "a set called test already"),
        (["a=nowhere"], 3, "nowhere: no such folder"),
    ],
)
def test_sets_that_cannot_be_evaluated(guided_run: Path, on: list[str], status: int, message: str, capsys):
    capsys.readouterr()  # what the fixture printed, if this is the first test that needs it
    options = [part for name in on for part in ("--on", name)]
    assert dp("real", "evaluate", guided_run, *options) == status
    assert message in complaint(capsys)
