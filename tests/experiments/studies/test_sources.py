"""The task that a source states before loading is that of its loaded examples."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_real.data import DATA
from tests.experiments.studies.made import idx, make_font, reviews_archive, word_lists


def fashion(root: Path) -> dict[str, Any]:
    for part, n in (("train", 200), ("t10k", 20)):
        (root / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((n, 28, 28)))))
        (root / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return {"folder": str(root)}


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
    "words": lambda root: word_lists(root) or {"train": 30, "validation": 2, "test": 5},
    "reviews": lambda root: {"archive": str(reviews_archive(root)), "validation": 5, "test": 10},
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_task_is_that_of_the_examples(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_experiments.studies.fashion.source.VALIDATION", 100)
    monkeypatch.setattr("dp_experiments.studies.words.source.FOLDER", tmp_path)
    config = DATA[source].model_validate({"source": source} | SOURCES[source](tmp_path))
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
        assert set(part.y.tolist()) <= set(range(task.n_classes))
