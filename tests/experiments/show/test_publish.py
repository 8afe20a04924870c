"""A run as a data set and a model: what the folders and the cards have."""

import os

import datasets
from huggingface_hub import RepoCard

from dp_real import Run
from tests.commands import done


def test_a_folder_loads_as_a_data_set_and_a_model(text_run, tmp_path):
    out = tmp_path / "out"
    done("real export", text_run, "--out", out, "--format hub")
    loaded = datasets.load_dataset(str(out / "dataset"), split="train", cache_dir=tmp_path / "cache")
    pool = Run(text_run).pool
    assert loaded["label"] == pool.y.tolist()
    assert {path.name for path in (out / "dataset").rglob("*.*")} == {"README.md", "train.parquet"}
    own = {*os.listdir(text_run / "learner")} - {"SHA256SUMS"}
    assert {*os.listdir(out / "model")} == own
    assert own >= {"README.md", "config.json", "model.safetensors"}
    assert RepoCard.load(out / "model" / "README.md").data.to_dict()["model-index"][0]["results"]
    file = out / "dataset" / "README.md"
    card = RepoCard.load(file)
    assert card.data.to_dict()["task_categories"] == ["text-classification"]
    assert "license" not in card.data.to_dict()
    assert "# license:" in file.read_text()
    assert "Write a short news item about {}" in card.text
    assert "The prompts showed real examples" in card.text
    assert "added examples that it found hard." in card.text
    assert "of them are real examples" not in card.text
