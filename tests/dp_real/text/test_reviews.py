"""Rated sentences of reviews: what is read of the archive, how it is split, and what is said of one that is none."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_base.errors import InputError, MissingError
from dp_real.data import DATA, DataConfig
from dp_real.text.codes import to_texts
from dp_real.text.data.reviews import ARCHIVE, DOMAINS
from dp_real.text.rated_sentences import FOLDER, INNER

RATED = {"films": (30, 2), "products": (4, 3), "tweets": (2, 2), "editorials": (3, 1)}


def packed(members: Mapping[str, bytes]) -> bytes:
    """A tar.gz of files, among which is a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        archive.addfile(link)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def rated(domain: str, count: int, repeated: int) -> bytes:
    """`count` sentences of each class; a few of the negative ones again with another rating, two that do not count."""
    negative = [f"{n}\t-2.5\tA dull ''{domain}'' number {n}, caf\xe9." for n in range(count)]
    positive = [f"{n}\t1.25\tA  fine {domain} number {n}." for n in range(count)]
    again = [line.replace("-2.5", "3.5") for line in negative[:repeated]]
    others = ["7\t0.4\tSo so.", "8\t-0.9\tNot good."]
    return "\n".join([*negative, *positive, *again, *others]).encode("latin-1")


def archive(folder: Path, **changed: bytes) -> Path:
    """The source distribution, as far as it is read. changed: what a domain's file holds instead."""
    files = {domain: rated(domain, *counts) for domain, counts in RATED.items()} | changed
    inner = packed({f"hutto_ICWSM_2014/{DOMAINS[domain]}_GroundTruth.txt": text for domain, text in files.items()})
    path = folder / ARCHIVE
    path.write_bytes(packed({f"{FOLDER}/{INNER}": inner}))
    return path


def reviews(path: Path, **keys: Any) -> DataConfig:
    """The section, with few sentences."""
    counts = {"validation": 5, "test": 10, "train": 100}
    return DATA["reviews"].model_validate({"source": "reviews", "archive": str(path)} | counts | keys)


def test_sentences_are_read_split_and_labelled(tmp_path: Path):
    path = archive(tmp_path)
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
    path = archive(tmp_path)
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
    path = archive(tmp_path, films=films)
    with pytest.raises(InputError, match=said):
        reviews(path).load()


def test_an_archive_of_something_else_is_named(tmp_path: Path):
    path = tmp_path / "other.tar.gz"
    for content in (b"", b"no archive", packed({"a": b"b"}), archive(tmp_path).read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"other\.tar\.gz: cannot be read as the source distribution"):
            reviews(path).load()
