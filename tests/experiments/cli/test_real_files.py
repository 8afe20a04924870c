"""`dp real init | export | evaluate` as a person meets them."""

import itertools
import logging
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.commands import VisibleFormatter
from dp_experiments.cli.real.dividing import _assigned
from dp_experiments.cli.real.remarks import judged_twice
from dp_experiments.show.sample import without_formulas
from dp_experiments.terminal.lines import say, table
from PIL import Image

from dp_base.errors import warn_once
from dp_real import Run
from dp_real.config import load_config
from dp_real.text.codes import texts_of
from tests.commands import done, refused, told

FEW = "--set generator.training=none --set training.steps=4 --set practice.initial=4 --set practice.additions=0"

# init


@pytest.mark.parametrize(
    ("kind", "generator", "learner", "size", "samples"),
    [
        ("images", "diffusers", "transformers", 224, 10_000),
        ("latent", "latent", "conv", 32, 10_000),
        ("denoiser", "denoiser", "conv", 8, 10_000),
        ("function", "function", "conv", 32, 10_000),
        ("text", "causal-lm", "bag-of-words", 600, 2000),
    ],
)
def test_init_writes_a_file_that_validates_and_says_what_its_keys_are(kind, generator, learner, size, samples, here):
    """Above each key, or the group of keys that it stands in, there is a comment."""
    assert "dp real run small.toml" in done("real init small --kind", kind).err
    text = Path("small.toml").read_text()
    assert "{name}" not in text
    config = load_config(Path("small.toml"))
    assert (config.name, config.generator.kind, config.learner.kind) == ("small", generator, learner)
    assert (config.task.sample_shape[-1], config.samples) == (size, samples)
    assert f" = {samples} in all" in text
    assert config.generator.trained_here == ("train" in tomllib.loads(text)["data"])
    for section in f"\n{text}".split("\n["):
        assert not re.search(r"\n\w+ = ", section.partition("\n#")[0]), section


def test_a_file_that_init_wrote_stays_and_its_run_says_what_is_missing(here):
    done("real init pets")
    text = Path("pets.toml").read_text()
    assert "exists and stays as it is" in refused("real init pets.toml")
    assert Path("pets.toml").read_text() == text
    assert "validation: no such folder" in done("real run pets.toml", status=3).err


@pytest.fixture
def scans(here):
    """Two classes of ten patients, who have four small grey images each, told by names and by folders."""
    for label, between in (("", "_"), ("well-", "/")):
        for patient, image in itertools.product(range(10), range(4)):
            pixels = np.random.default_rng([len(label), patient, image]).integers(0, 256, (9, 8), np.uint8)
            file = here / "scans" / (label[:-1] or "ill") / "all" / f"{label}{patient:02d}{between}{image}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return here / "scans"


def test_init_from_a_folder_divides_it_by_groups_and_runs(scans, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # of which Pillow would warn
        done("real init lungs --from", scans)
    text = Path("lungs.toml").read_text()
    config = load_config(Path("lungs.toml"))
    assert (config.generator.kind, config.task.sample_shape) == ("denoiser", (1, 8, 8))
    assert config.task.classes == ("ill", "well")
    assert judged_twice(config) is None
    assert "There are" not in text  # no lists of kinds that do not apply
    sets = {name: list(Path("lungs-data", name).glob("*/*")) for name in ("train", "validation", "test")}
    assert len(sets["train"]) == 40
    assert [len(files) for files in sets.values()] == [40, 20, 20]
    patients = [{str(file.readlink())[:-6] for file in files} for files in sets.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 20
    assert all(file.is_symlink() for files in sets.values() for file in files)
    done("real run lungs.toml", FEW)
    assert "has images; leave --kind out" in refused("real init lungs2 --from", scans, "--kind text")
    assert "cannot be written" in refused("real init /proc/lungs2 --from", scans)
    assert not Path("lungs2-data").exists()  # a refusal leaves nothing that the next try would stumble over
    scans.rename("moved")
    assert "00_0.png, which is gone; so are those of" in done("real plan lungs.toml", status=3).out


def test_init_from_sets_keeps_them_and_few_examples_are_refused(scans, caplog):
    for name in ("train", "val"):
        shutil.copytree(scans, Path("sets", name))
    done("real init lungs --from sets --kind latent")
    data = tomllib.loads(Path("lungs.toml").read_text())["data"]
    assert (data["train"], data["validation"], data["size"]) == ("sets/train", "sets/val", 32)
    assert "test" not in data
    assert "data.test is not set" in (judged_twice(load_config(Path("lungs.toml"))) or "")
    assert not Path("lungs-data").exists()
    for file in sorted(Path(scans, "ill/all").iterdir())[8:]:
        file.unlink()
    done("real init pairs --from", scans)
    assert "such as of class ill, come into several sets" in caplog.text
    for file in sorted(Path(scans, "ill/all").iterdir())[2:]:
        file.unlink()
    assert "2 of class ill, but for copies, are too few for sets" in refused("real init few --from", scans)
    Path("sets/val").rename("sets/test")
    assert "none is for validation" in refused("real init none --from sets")


def test_init_keeps_copies_of_a_picture_or_a_text_in_one_set(here):
    """By name, as links, saved anew, or as a text in other files."""
    for label, row in itertools.product(("cat", "dog"), range(8)):
        pixels = np.random.default_rng([len(label), ord(label[0]), row]).integers(0, 256, (16, 16, 3), np.uint8)
        for name in ("k/{}/{}.png", "k/{}/{} (1).bmp", "k/{}/s/{}-Copy.png", "t/{}/{}.txt"):
            file = here / name.format(label, row)
            file.parent.mkdir(parents=True, exist_ok=True)
            if name[0] == "k":
                Image.fromarray(pixels).save(file)
            else:
                file.write_text(f"the {label} of {row // 2}")
        (here / f"k/{label}/{row}l.png").symlink_to(here / f"k/{label}/{row}.png")
    for kind in "kt":
        done(f"real init {kind} --from", kind)
        data = load_config(Path(f"{kind}.toml")).data.load()
        sets = [data.train, data.validation, data.test]
        seen = [{each.numpy().tobytes() for each in part.x[:].float()} for part in sets]
        assert len(set.union(*seen)) == sum(map(len, seen)) == (16 if kind == "k" else 8)


def test_sets_that_share_pictures_are_told_with_numbers(scans, caplog):
    for name in ("train", "val"):
        shutil.copytree(scans, Path("sets", name))
    for file in sorted(Path("sets/train").rglob("*.png"))[::2]:
        file.unlink()
    for words in ("init lungs --from sets --kind denoiser", "plan lungs.toml", f"run lungs.toml {FEW}"):
        warn_once.cache_clear()
        caplog.clear()
        done("real", words)
        assert "40 of 80 examples of validation that were checked are in train, too, such as" in caplog.text
    broken = min(Path("sets/val").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:-40])
    assert f"{broken.name}: not a whole image" in done("real plan lungs.toml", status=3).out
    assert f"{broken.name}: not a whole image" in refused("real init lungs2 --from sets")


def test_init_from_what_people_have(scans, caplog):
    """Captions beside the images, and a folder too high."""
    for file in scans.rglob("*.png"):
        file.with_suffix(".txt").write_text("a scan")
    done("real init lungs --from", scans)
    assert "80 files are not read, for their endings are none of images: .txt" in caplog.text
    Path("up").mkdir()
    scans.rename("up/scans")
    remedy = "the classes are those in up/scans, such as ill, name that folder"
    said = refused("real init up --from up")
    assert "fewer than two classes" in said
    assert remedy in said
    shutil.copytree("up/scans/ill/all", "up/examples")
    caplog.clear()
    done("real init up --from up")
    assert f"its folders are the classes, examples, scans; if {remedy}" in caplog.text


def test_init_from_a_table_of_texts(here):
    lines = [f'"a {word} film, number {row}",{word}' for row in range(20) for word in ("good", "{name}")]
    Path("films.csv").write_text("text,label\n" + "\n".join([*lines, *lines]))
    done("real init films --from films.csv")
    Path("numbers.csv").write_text("text,label\n" + "\n".join(f"text {row},{row % 3 + 9}" for row in range(30, 0, -1)))
    done("real init numbers --from numbers.csv")
    assert load_config(Path("numbers.toml")).task.classes == ("9", "10", "11")
    config = load_config(Path("films.toml"))
    assert (config.generator.kind, config.learner.kind) == ("char-lm", "bag-of-words")
    assert config.task.classes == ("good", "{name}")
    real = config.data.load()
    sets = [texts_of(part.x[:]) for part in (real.train, real.validation, real.test)]
    assert [(len(texts), len(set(texts))) for texts in sets] == [(40, 20), (20, 10), (20, 10)]
    assert "in it; name a file, such as films-data/test.jsonl" in refused("real init folder --from films-data")
    for rows in (0, 9):
        Path("one.csv").write_text("text,label\n" + "\n".join(f"good {row},a" for row in range(rows)))
        assert "fewer than two classes" in refused("real init one --from one.csv")
    Path("holes.csv").write_text("text,label\n" + "\n".join([*lines, " ,good"]))
    assert "holes.csv: row 41: it has no text" in refused("real init holes --from holes.csv")


def test_init_divides_groups_of_unequal_size_by_examples(here):
    """The many copies of one text are for training, and each class is in each set."""
    copies = {"good": [3, 1, 25, 11, 5], "bad": [2, 200, 1, 1]}
    lines = [f"{label} {n},{label}\n" * count for label in copies for n, count in enumerate(copies[label])]
    Path("films.csv").write_text("".join(["text,label\n", *lines]))
    done("real init films --from films.csv")
    sets = {file.stem: pd.read_json(file, lines=True)["label"] for file in Path("films-data").iterdir()}
    assert [set(labels) for labels in sets.values()] == [{"good", "bad"}] * 3
    assert sets["train"].value_counts().to_dict() == {"good": 25, "bad": 200}


def test_groups_of_several_classes_leave_a_rare_one_in_each_set():
    groups = ["ab", "aa", "ba", "ba", "a"]
    rows = [*enumerate("".join(groups))]
    places = np.repeat(range(5), [len(group) for group in groups])
    for part in _assigned(rows, places, Path("films")).values():
        assert {label for _, label in part} == {"a", "b"}


# export


def test_export(guided_run, tmp_path):
    out = tmp_path / "new" / "pool"
    assert told("real export", guided_run, "--out", out, "--format folder") == {
        "run": str(guided_run),
        "out": str(out),
        "format": "folder",
    }
    assert {*os.listdir(out)} == {*"0123456789", "metadata.jsonl", "README.md"}
    assert len(list(out.rglob("*.png"))) == 80
    assert os.listdir(out.parent) == ["pool"]  # nothing half-made is left beside it

    before = sorted(out.rglob("*"))
    assert "is not empty" in refused("real export", guided_run, "--out", out, "--format parquet")
    assert sorted(out.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    done("real export", guided_run, "--out", tmp_path / "empty", "--format parquet")
    assert os.listdir(tmp_path / "empty") == ["train.parquet"]


# tables


@pytest.mark.parametrize("on_terminal", [False, True])
def test_no_text_commands_the_terminal(on_terminal, monkeypatch, capsys):
    """What stands in brackets is markup to rich; a tab would begin another cell, a new line another row.

    A table, a line on stderr and a warning hold a foreign name that would clear the screen and set a title.
    """
    evil = "cat\x1b[2J\x1b]0;owned\x07\x9b1m\u202edog"
    spelled = r"cat\u001b[2J\u001b]0;owned\u0007\u009b1m\u202edog"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    monkeypatch.setenv("COLUMNS", "200")
    table([{"class": evil, evil: "pets [old]", "text": "[/INST] one\ttwo\nthree"}], title=f"[b] {evil}")
    say(f"{evil}\nnext\tline")
    record = logging.LogRecord("dp_real", logging.WARNING, "", 1, "%s is no image", (evil,), None)
    out, err = capsys.readouterr()
    err += VisibleFormatter().format(record)
    own_styles = r"\x1b\[\d+m"  # italics of the title and bold heads, on a terminal
    assert not set("\x1b\x07\x9b\u202e") & set(re.sub(own_styles, "", out) + err)
    assert out.count(spelled) + err.count(spelled) == 5
    assert f"{spelled}\nnext\tline\n" in err
    cells = ["pets [old]", r"[/INST] one\ttwo\nthree"]
    assert all(cell in out for cell in cells)
    assert "[b] cat" in out if on_terminal else out.splitlines()[1].split("\t")[1:] == cells


def test_no_cell_of_an_exported_table_is_a_formula(tmp_path):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "fine", "a=b"]
    frame = pd.DataFrame({"text": texts, "number": -1.5, "as_asked": None})
    without_formulas(frame).to_csv(tmp_path / "samples.csv", index=False)
    found = pd.read_csv(tmp_path / "samples.csv")
    assert found["text"].tolist() == [f"'{text}" for text in texts[:6]] + ["fine", "a=b"]
    assert (found["number"] == -1.5).all()


# evaluate


def test_evaluate(guided_run, tmp_path):
    for name in ("3", "7"):
        (tmp_path / name).mkdir()
        Image.new("L", (20, 30)).save(tmp_path / name / "0.png")
    answer = told("real evaluate", guided_run, "--on", f"mine={tmp_path}")
    result = Run(guided_run).result
    assert [row["set"] for row in answer["sets"]] == ["validation", "test", "mine"]
    assert answer["sets"][0]["accuracy"] == result["val_accuracy"]
    assert answer["sets"][1]["accuracy"] == result["test_accuracy"]
    assert (answer["sets"][2]["classes"], answer["sets"][2]["accuracy"]) == (2, 0.5)
    shutil.rmtree(tmp_path / "7")
    said = done("real evaluate", guided_run, "--on", f"mine={tmp_path}").err
    assert said.startswith("mine: of one class alone")

    lines = done("real evaluate", guided_run).out.splitlines()
    assert lines[0].split("\t") == ["set", "examples", "classes", "accuracy (%)"]
    assert len(lines) == 3
