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
prompts = "captions.csv"
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
    (tmp_path / "project/models/mine").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for folder in ("project", "elsewhere"):
        (tmp_path / folder / "captions.csv").write_text(f"class,caption\na,a\nb,{folder}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = tmp_path / "project/own.toml"
    file.write_text(OWN)
    return file


def places(config):
    data, generator = config.data.model_dump(), config.generator.model_dump()
    captions = generator["prompts"]["b"][0]
    return {"validation": data["validation"], **data["sets"], "model": generator["model"], "captions": captions}


def test_those_of_a_file_are_meant_from_its_folder(file):
    project = file.parent
    assert places(load_config(file)) == {
        "validation": f"{project}/data/val",
        "sketch": "hub:someone/sketch",
        "other": "/absolute",
        "mine": f"{project}/mine-{{00..03}}.tar@test#label",
        "model": f"{project}/models/mine",
        "captions": "project",
    }


def test_those_of_the_command_line_are_meant_from_the_current_folder(file):
    settings = ["data.validation=val", 'data.sets={near="a/b"}', "generator.model=org/name"]
    found = places(load_config(file, [*settings, "generator.prompts=captions.csv"]))
    here = Path.cwd()
    rest = {"model": "org/name", "captions": "elsewhere"}  # an id of the hub
    assert found == {"validation": f"{here}/val", "near": f"{here}/a/b", **rest}


def test_those_of_a_preset_wait_until_a_run_records_them(file):
    relative = load_config(file, anchor=False)
    assert places(relative)["validation"] == "data/val"
    assert places(relative)["model"] == "models/mine"
    later = places(parse_config(relative.model_dump(), folder=file.parent))
    assert later | {"captions": "project"} == places(load_config(file))  # a table is read at once
    assert parse_config(load_config(file).model_dump(), folder=Path("/")) == load_config(file)
