"""Rated sentences of reviews: what is read of the archive, how it is split, and what is said of one that is none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dp_base.errors import InputError, MissingError
from dp_real.data import DATA, DataConfig
from dp_real.text.codes import to_texts
from tests.experiments.studies.made import packed, reviews_archive


def reviews(path: Path, **keys: Any) -> DataConfig:
    """The section, with few sentences."""
    counts = {"validation": 5, "test": 10, "train": 100}
    return DATA["reviews"].model_validate({"source": "reviews", "archive": str(path)} | counts | keys)


def test_sentences_are_read_split_and_labelled(tmp_path: Path):
    path = reviews_archive(tmp_path)
    data = reviews(path, sets={"shop": "products", "news": "editorials"}).load()
    assert data.generator is not None
    parts = [data.validation, data.test, data.generator]
    assert [len(part.y) for part in parts] == [10, 20, 30]
    assert [int(part.y.sum()) for part in parts] == [5, 10, 15]
    texts = [text for part in parts for text in to_texts(torch.as_tensor(part.x[:]))]
    assert len(set(texts)) == 60
    assert {f'A dull "films" number {n}, café.' for n in range(30)} | {
        f"A fine films number {n}." for n in range(30)
    } == set(texts)
    for part in parts:
        for text, label in zip(to_texts(torch.as_tensor(part.x[:])), part.y.tolist(), strict=True):
            assert ("fine" in text) == bool(label)
    assert {name: len(each.y) for name, each in data.sets.items()} == {"shop": 8, "news": 6}
    assert [reviews(path).task.classes, reviews(path).describe()[0].problem] == [("negative", "positive"), None]


def test_another_split_has_other_sentences(tmp_path: Path):
    path = reviews_archive(tmp_path)
    first, again, other = (reviews(path, split=split).load().test for split in (0, 0, 1))
    assert torch.equal(torch.as_tensor(first.x[:]), torch.as_tensor(again.x[:]))
    assert not torch.equal(torch.as_tensor(first.x[:]), torch.as_tensor(other.x[:]))


def test_a_missing_archive_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    section = DATA["reviews"].model_validate({"source": "reviews"})
    command = f"pip download --no-deps --no-build-isolation --no-binary vaderSentiment --dest {tmp_path}"
    assert command in str(section.describe()[0].problem)
    with pytest.raises(MissingError, match=r"vaderSentiment==3\.3\.2"):
        section.load()


@pytest.mark.parametrize(
    ("films", "said"),
    [
        (b"", "no sentence rated 1 or more"),
        (b"1\t0.2\tSo so.", "no sentence rated 1 or more"),
        (b"no tabs", "cannot be read as the source distribution"),
        (b"1\tgood\tA film.", "cannot be read as the source distribution"),
        (b"1\t2\tA film.", "one must be left"),
    ],
)
def test_what_is_no_such_file_is_named(films: bytes, said: str, tmp_path: Path):
    path = reviews_archive(tmp_path, films=films)
    with pytest.raises(InputError, match=said):
        reviews(path).load()


def test_an_archive_of_something_else_is_named(tmp_path: Path):
    path = tmp_path / "other.tar.gz"
    for content in (b"", b"no archive", packed({"a": b"b"}), reviews_archive(tmp_path).read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"other\.tar\.gz: cannot be read as the source distribution"):
            reviews(path).load()
