"""Tar files never lose an image or a label without a word, and ImageNet's flat validation images have their classes."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from dp_base.errors import MissingError
from dp_real.data.sets.class_names import task_classes, user_classes
from dp_real.data.sets.images import read_set
from dp_real.data.sets.places import locate
from tests.dp_real.data.sets.made import WNIDS, plain, values, write_tar
from tests.refusals import refusal

CAT, DOG = 0, 1
PETS = {"cat/0.png": plain(10), "dog/1.png": plain(20)}


def read(where, classes=None):
    found, classes = locate(str(where)), classes or user_classes(["cat", "dog"])
    return read_set(found, classes, (3, 8, 8), (), keep=False)


def test_members_are_not_written(tmp_path):
    """Wherever their names would lead to."""
    members = {f"{stem}/cat/evil.png": plain(10) for stem in ("../..", "/tmp")}
    (tmp_path / "in/side").mkdir(parents=True)
    assert values(read(write_tar(tmp_path / "in/side/a.tar", members))) == [10, 10]
    assert not [*tmp_path.rglob("evil*"), *Path("/tmp").glob("cat/evil*")]


LINK, HOLES = tarfile.TarInfo("cat/a.png"), tarfile.TarInfo("cat/0.png")
LINK.type = tarfile.SYMTYPE
HOLES.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999"}
HOLES.size = 512


@pytest.mark.parametrize(
    ("entry", "said"),
    [(LINK, "cat/a.png: a link, .*dereference --hard-dereference"), (HOLES, "cat/0.png: .* a file with holes")],
)
def test_what_is_no_file_is_named(tmp_path, entry, said):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(entry, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    with refusal(f"a.tar: {said}"):
        read(tmp_path / "a.tar")


def test_a_name_that_stands_twice_is_named(tmp_path):
    """As tar --append leaves it. Which one is meant is not said."""
    write_tar(tmp_path / "a.tar", PETS, (tarfile.TarInfo("./cat/0.png"),))
    with refusal(r"a.tar: cat/0.png is in it twice; keep one"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("damage", ["header", "joined", "cut", "cut in a header", "empty", "zipped"])
def test_what_does_not_end_behind_its_last_file_is_no_whole_archive(tmp_path, damage):
    """The library stops at a damaged header, and at the end of the first archive, without a word."""
    whole = write_tar(tmp_path / "a.tar", PETS).read_bytes()
    second = whole.index(b"dog/1.png")
    damaged = {
        "header": whole[:second] + b"D" + whole[second + 1 :],
        "joined": whole + whole,
        "cut": whole[: second + 1024],
        "cut in a header": whole[: second + 100],
        "empty": b"",
        "zipped": gzip.compress(whole),
    }
    (tmp_path / "a.tar").write_bytes(damaged[damage])
    with refusal(r"a.tar: not a whole tar file: .*; a compressed one must be unpacked"):
        read(tmp_path / "a.tar")


def test_labels_of_samples(tmp_path, caplog):
    """.cls comes before .json, names may have dots, a sample's mask is none of its images, and folders are labels."""
    files = {
        "a.jpg": plain(1),
        "a.cls": b"\xef\xbb\xbfdog\r\n",
        "a.json": b'{"label": 0, "pet": "cat"}',
        "cat/22.05.WEBP": plain(2),
        "cat/22.05.cls": b"dog",
        "c.png": plain(3),
        "c.seg.png": plain(99),
        "c.json": b'{"label": 0, "pet": "dog"}',
        "cat/d.PNG": plain(4),
        "cat/._d.jpg": b"x",
        "e.heic": b"?",
        "e.cls": b"cat",
    }
    where = str(write_tar(tmp_path / "a.tar", files))
    assert values(read(where)) == [1, 2, 3, 4]
    assert read(where).y.tolist() == [DOG, DOG, CAT, CAT]
    assert read(f"{where}#pet").y.tolist() == [CAT, CAT, DOG, CAT]
    assert "2 files are not read, for their endings are none of images: .cls, .heic" in caplog.text
    for content, said in (
        ({"a.jpg": plain(1)}, "b.tar: a.jpg: an image without a label"),
        (
            {"a.jpg": plain(1), "a.json": b"{}"},
            "b.tar: a.json: there is no label in it: .*#KEY names",
        ),
        ({"0.png": plain(1), "0.cls": b"cat", "0.jpg": plain(2)}, "0.jpg: another image has the same label file"),
    ):
        with refusal(said):
            read(write_tar(tmp_path / "b.tar", content))


# ImageNet's validation images as Kaggle has them, in tiny

LABELS = [388, 15, 999, 15]  # of the validation images, in order
FLAT = {f"ILSVRC2012_val_{number:08}.JPEG": plain(number) for number in range(1, 5)}
THOUSAND = task_classes("imagenet1k")


def test_validation_images_without_folders(tmp_path):
    """As Kaggle has them, whose table lies four folders above."""
    where = tmp_path / "ILSVRC/Data/CLS-LOC/val"
    where.mkdir(parents=True)
    for name, image in FLAT.items():
        (where / name).write_bytes(image)
    with refusal(r"put Kaggle's LOC_val_solution.csv", MissingError):
        read(where, THOUSAND)
    rows = [f"{Path(name).stem},{WNIDS[label]} 1 2 3 4 \n" for name, label in zip(FLAT, LABELS, strict=True)]
    (tmp_path / "LOC_val_solution.csv").write_text("\ufeffImageId,PredictionString\n" + "".join(rows[::-1]))
    images = read(where, THOUSAND)
    assert (images.y.tolist(), values(images)) == (LABELS, [1, 2, 3, 4])


@pytest.mark.parametrize("table", ["a,b\n1,2\n", "ImageId,PredictionString\n"])
def test_broken_tables_are_named(table, tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / next(iter(FLAT))).write_bytes(plain(1))
    (tmp_path / "LOC_val_solution.csv").write_text(table)
    with refusal(r"LOC_val_solution.csv: cannot be read|val_00000001.JPEG is none of the 0 validation images"):
        read(tmp_path / "val", THOUSAND)
