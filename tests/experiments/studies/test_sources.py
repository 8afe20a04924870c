"""The task that a source states before loading is that of its loaded examples."""

import gzip
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import dp_experiments.studies.fashion.source
import numpy as np
import pytest
import torch
from PIL import Image

from dp_real.config import parse_config
from dp_real.data import DATA, DataConfig
from tests.dp_real.text.made import text_folder
from tests.experiments.studies.made import idx, make_font, reviews_archive, word_lists


def pictures(root: Path, names: tuple[str, ...]) -> str:
    """Two pictures per class. No side has the size of the task."""
    for name, row in product(names, range(2)):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (14, 11), (10 * row, 0, 0)).save(root / name / f"{row}.png")
    return str(root)


def fashion(root: Path) -> dict[str, Any]:
    for part, n in (("train", 200), ("t10k", 20)):
        (root / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((n, 28, 28)))))
        (root / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return {"folder": str(root)}


def own(root: Path) -> dict[str, Any]:
    """The classes are those of the folders of validation."""
    places = {name: pictures(root / name, ("cat", "dog", "emu")) for name in ("validation", "train")}
    return {"size": 9, "sets": {"more": pictures(root / "more", ("dog",))}} | places


def glyphs(root: Path) -> dict[str, Any]:
    """Ten families of slanted letters, and one of handwriting."""
    for place, name in enumerate("ABCDEFGHIJ"):
        make_font(root / f"{name}.ttf", name, 0.08 * (place - 4.5))
    make_font(root / "script.ttf", "K Script")
    return {"fonts": str(root), "size": 8, "sets": {"handwriting": "handwriting"}}


SOURCES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "digits": lambda root: {},
    "fashion": fashion,
    "glyphs": glyphs,
    "gaussian": lambda root: {"dimension": 7, "validation": 30, "test": 50},
    "folder": own,
    "text": lambda root: {"length": 9, "validation": str(text_folder(root / "texts"))},
    "words": lambda root: word_lists(root) or {"train": 30, "validation": 2, "test": 5},
    "stand-in-text": lambda root: {},
    "reviews": lambda root: {"archive": str(reviews_archive(root)), "validation": 5, "test": 10},
    "stand-in": lambda root: {"size": 8},
}


def test_every_source_is_among_them():
    assert set(SOURCES) == set(DATA)


def section(source: str, values: dict[str, Any]) -> DataConfig:
    """Return a section as a file would name it."""
    rest: dict[str, Any] = {"name": "any", "learner": {"kind": "mlp"}, "training": {"steps": 1}}
    rest |= {"generator": {"kind": "gaussian" if source == "gaussian" else "denoiser"}, "practice": {"initial": 3}}
    if DATA[source].examples == "texts":
        rest |= {"generator": {"kind": "char-lm"}, "guidance": {"candidates": 2}, "pool": {"storage": "text"}}
        rest |= {"learner": {"kind": "ngrams"}}
    return parse_config(rest | {"data": {"source": source} | values}).data


@pytest.mark.parametrize("source", SOURCES)
def test_the_task_is_that_of_the_examples(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path):
    monkeypatch.setattr(dp_experiments.studies.fashion.source, "VALIDATION", 100)
    monkeypatch.setattr("dp_experiments.studies.words.source.FOLDER", tmp_path)
    config = section(source, SOURCES[source](tmp_path))
    task = config.task
    data = config.load()
    assert data.task == task
    assert task.n_classes == len(set(task.classes)) > 1
    assert config.has_training_examples == (data.generator is not None)
    for part in filter(None, (data.generator, data.validation, data.test)):
        assert tuple(part.x.shape) == (len(part.y), *task.sample_shape)
        assert part.x[0:2].shape == (2, *task.sample_shape)
        assert part.y.dtype == torch.int64
        assert part.y.unique().tolist() == list(range(task.n_classes))
    for part in data.sets.values():
        assert tuple(part.x.shape) == (len(part.y), *task.sample_shape)
        assert part.x[0:1].shape == (1, *task.sample_shape)
        assert set(part.y.tolist()) <= set(range(task.n_classes))
