"""Relative paths mean the folder where they stand, wherever a command is given."""

from pathlib import Path

import pytest

from dp_real.config import load_config, parse_config

OWN = """
[data]
source = "folder"
size = 16
classes = ["a", "b"]
validation = "data/val"
sets = { sketch = "hub:someone/sketch", other = "/absolute", mine = "mine-{00..03}.tar@test#label" }
[generator]
kind = "diffusers"
model = "models/mine"
[learner]
kind = "linear"
lam = 0.1
[training]
steps = 10
batch_size = 0
[practice]
initial = 10
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A configuration in a folder that is not the current one."""
    (tmp_path / "project" / "models" / "mine").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = tmp_path / "project" / "own.toml"
    file.write_text(OWN, encoding="utf-8")
    return file


def places(config):
    data = config.data.model_dump()
    return {"validation": data["validation"], **data["sets"], "model": config.generator.model_dump()["model"]}


def test_those_of_a_file_are_meant_from_its_folder(file):
    project = file.parent
    assert places(load_config(file)) == {
        "validation": f"{project}/data/val",
        "sketch": "hub:someone/sketch",
        "other": "/absolute",
        "mine": f"{project}/mine-{{00..03}}.tar@test#label",
        "model": f"{project}/models/mine",
    }


def test_so_are_captions(file):
    """Another table of that name lies in the current folder."""
    for folder, caption in ((file.parent, "there"), (Path.cwd(), "here")):
        (folder / "captions.csv").write_text(f"class,caption\na,{caption}\nb,{caption}\n", encoding="utf-8")
    file.write_text(OWN.replace('"diffusers"', '"diffusers"\nprompts = "captions.csv"'), encoding="utf-8")
    for overrides, caption in (([], "there"), (["generator.prompts=captions.csv"], "here")):
        assert load_config(file, overrides).generator.model_dump()["prompts"] == {"a": (caption,), "b": (caption,)}


def test_those_of_the_command_line_are_meant_from_the_current_folder(file):
    found = places(load_config(file, ["data.validation=val", 'data.sets={near="a/b"}', "generator.model=org/name"]))
    here = Path.cwd()
    assert found == {"validation": f"{here}/val", "near": f"{here}/a/b", "model": "org/name"}  # an id of the hub


def test_those_of_a_preset_wait_until_a_run_records_them(file):
    relative = load_config(file, anchor=False)
    assert places(relative)["validation"] == "data/val"
    assert places(relative)["model"] == "models/mine"
    assert places(parse_config(relative.model_dump(), folder=file.parent)) == places(load_config(file))
    assert parse_config(load_config(file).model_dump(), folder=Path("/")) == load_config(file)
