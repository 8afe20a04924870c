"""What can be set, and what the options of several commands mean where they are left out."""

import sys
import tomllib

import pytest
import torch
from dp_experiments.cli.real.configure import keys
from dp_experiments.cli.real.options import requested_cluster
from dp_experiments.presets.presets import load_preset, preset_names

from dp_real.config import load_config
from tests.commands import done, told


def test_every_key_of_a_preset_is_explained():
    for preset in preset_names():
        rows = list(keys(load_preset(preset)))
        assert [row["key"] for row in rows if not row["meaning"]] == []
        assert len({row["key"] for row in rows}) == len(rows) > 50


def test_keys_are_those_that_a_file_may_have(tmp_path):
    """A file of all values that `dp real keys` shows is the same configuration."""
    rows = {row["key"]: row for row in told("real keys glyphs --set guidance.every=3")["keys"]}
    assert rows["guidance.every"] | {"meaning": ""} == {
        "key": "guidance.every",
        "value": "3",
        "source": "yours",
        "default": "1",
        "may be": "integer > 0",
        "meaning": "",
    }
    assert rows["training.steps"]["default"] == "required"
    assert rows["training.crop"]["may be"] == "number ≥ 0, ≤ 1"
    assert rows["guidance.through"]["may be"] == '"unet" | "x0"'
    assert rows["data.fonts"]["may be"] == "string or none"
    tables = {"data.sets": "{ handwriting = 'handwriting', display = 'display' }"}
    lines = [f"{key} = {tables.get(key, row['value'])}" for key, row in rows.items() if row["value"] != "none"]
    (tmp_path / "same.toml").write_text("\n".join(lines))
    assert tomllib.loads((tmp_path / "same.toml").read_text())["guidance"]["every"] == 3
    assert load_config(tmp_path / "same.toml") == load_preset("glyphs", ["guidance.every=3"])


@pytest.mark.parametrize(("gpus", "asked", "expected"), [(0, None, 2), (8, None, 8), (8, 3, 3)])
def test_there_is_a_worker_for_each_gpu(gpus, asked, expected, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with requested_cluster(None, asked) as workers:
        assert workers == expected


@pytest.mark.parametrize("command", ["real compare digits --out out", "real branch run"])
def test_a_cluster_needs_its_package(command, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = done(command, "--dask tcp://host:1", status=3).err
    assert "pip install 'deliberate-practice[cluster]'" in said
    assert not list(here.iterdir())
