"""Rated sentences of reviews: what is read of the archive, how it is split, and what is said of one that is none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dp_base.errors import InputError, MissingError
from dp_real.data import DATA, DataConfig
from dp_real.text.codes import to_texts
from tests.experiments.studies.made import reviews_archive


def reviews(path: Path, **keys: Any) -> DataConfig:
    """The section, with few sentences."""
    counts = {"validation": 5, "test": 10, "train": 100}
    return DATA["reviews"].model_validate({"source": "reviews", "archive": str(path)} | counts | keys)


def test_sentences_are_read_split_and_labelled(tmp_path: Path):
    path = reviews_archive(tmp_path)
    data = reviews(path, sets={"shop": "products", "news": "editorials"}).load()
    assert data.generator is not None
    texts = []
    for part, size in ((data.validation, 10), (data.test, 20), (data.generator, 30)):
        assert [len(part.y), int(part.y.sum())] == [size, size // 2]
        texts.append(to_texts(torch.as_tensor(part.x[:])))
        assert ["fine" in text for text in texts[-1]] == part.y.bool().tolist()
    dull = {f'A dull "films" number {n}, café.' for n in range(30)}
    assert dull | {f"A fine films number {n}." for n in range(30)} == {text for each in texts for text in each}
    assert {name: len(each.y) for name, each in data.sets.items()} == {"shop": 8, "news": 6}
    assert [reviews(path).task.classes, reviews(path).describe()[0].problem] == [("negative", "positive"), None]
    again, other = (to_texts(torch.as_tensor(reviews(path, split=split).load().test.x[:])) for split in (0, 1))
    assert again == texts[1] != other


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
        (b"1\t0.2\tSo so.", "no sentence rated 1 or more"),
        (b"1\tgood\tA film.", "cannot be read as the source distribution"),
        (b"1\t2\tA film.", "one must be left"),
    ],
)
def test_what_is_no_such_file_is_named(films: bytes, said: str, tmp_path: Path):
    path = reviews_archive(tmp_path, films=films)
    with pytest.raises(InputError, match=said):
        reviews(path).load()
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="cannot be read as the source distribution"):
        reviews(path).load()
