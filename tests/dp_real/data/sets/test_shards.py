"""Tar files never lose an image or a label without a word."""

import io
import tarfile
from pathlib import Path

import pytest

from dp_base.errors import InputError
from dp_real.data.sets.class_names import own_classes
from dp_real.data.sets.images import ImageSet
from dp_real.data.sets.places import locate, read_set
from tests.dp_real.data.sets.made import plain, values, write_tar

CAT, DOG = 0, 1
PETS = {"cat/0.png": plain(10), "dog/1.png": plain(20)}


def read(path: Path) -> ImageSet:
    return read_set(locate(str(path)), own_classes(["cat", "dog"]), (3, 8, 8), (), keep=False)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link to the target, or another entry that is no plain file."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = target
    return entry


def test_links_are_the_files_that_they_lead_to(tmp_path: Path):
    """A hard link names a file from the archive's root, a symbolic one from its own folder."""
    links = (
        special("cat/hard.png", tarfile.LNKTYPE, "dog/1.png"),
        special("./cat/soft.png", tarfile.SYMTYPE, "../dog/1.png"),
        special("dog/twice.png", tarfile.SYMTYPE, "../cat/soft.png"),
        special("dog/._hidden.png", tarfile.SYMTYPE, "nowhere"),
    )
    found = read(write_tar(tmp_path / "a.tar", PETS, links))
    assert found.y.tolist() == [CAT, DOG, CAT, CAT, DOG]
    assert values(found) == [10, 20, 20, 20, 20]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "../../etc/passwd"),
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../dog"),
        (tarfile.SYMTYPE, "link.png"),
        (tarfile.LNKTYPE, "1.png"),
    ],
)
def test_a_link_that_leads_out_is_named(tmp_path: Path, kind: bytes, target: str):
    path = write_tar(tmp_path / "a.tar", PETS, (special("cat/link.png", kind, target),))
    with pytest.raises(InputError, match=r"a.tar: cat/link.png is a link to .*, which is no file in it; archive the"):
        read(path)


def test_a_pipe_and_a_file_with_holes_are_named(tmp_path: Path):
    holes = tarfile.TarInfo("cat/0.png")
    holes.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999"}
    holes.size = 512
    for entry in (holes, special("cat/0.png", tarfile.FIFOTYPE)):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.addfile(entry, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
        with pytest.raises(InputError, match=r"a.tar: cat/0.png: a device, a pipe or a file with holes"):
            read(tmp_path / "a.tar")


def test_a_name_that_stands_twice_is_named(tmp_path: Path):
    """As tar --append leaves it. Which one is meant is not said."""
    write_tar(tmp_path / "a.tar", PETS, (tarfile.TarInfo("./cat/0.png"),))
    with pytest.raises(InputError, match=r"a.tar: cat/0.png stands in it twice; leave one"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("damage", ["header", "joined", "cut", "cut in a header", "text", "empty", "zipped"])
def test_what_does_not_end_behind_its_last_file_is_no_whole_archive(tmp_path: Path, damage: str):
    """The library stops at a damaged header, and at the end of the first archive, without a word."""
    whole = write_tar(tmp_path / "a.tar", PETS).read_bytes()
    assert read(tmp_path / "a.tar").y.tolist() == [CAT, DOG]
    with tarfile.open(tmp_path / "zipped", "w:gz") as tar:
        tar.add(tmp_path / "a.tar")
    second = whole.index(b"dog/1.png")
    damaged = {
        "header": whole[:second] + b"D" + whole[second + 1 :],
        "joined": whole + whole,
        "cut": whole[: second + 1024],
        "cut in a header": whole[: second + 100],
        "text": b"text" * 500,
        "empty": b"",
        "zipped": (tmp_path / "zipped").read_bytes(),
    }
    (tmp_path / "a.tar").write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"a.tar: not a whole tar file: .*; a compressed one must be unpacked"):
        read(tmp_path / "a.tar")


def test_a_label_is_used_whatever_dots_its_name_has_and_wherever_it_lies(tmp_path: Path):
    files = {
        "cat/22.05.png": plain(10),
        "cat/22.06.png": plain(20),
        "cat/22.05.cls": b"dog",
        "cat/22.06.seg.png": plain(99),
        "a.png": plain(30),
        "b.png": plain(40),
        "cat/7.png": plain(50),
        "a.CLS": b"\xef\xbb\xbfdog\r\n",
        "b.json": b'\xef\xbb\xbf{"label": "cat"}',
        "cat/22.06.cls": b"cat",
    }
    found = read(write_tar(tmp_path / "a.tar", files))
    assert values(found) == [10, 20, 30, 40, 50]
    assert found.y.tolist() == [DOG, CAT, DOG, CAT, CAT]


@pytest.mark.parametrize("label", ["cat/22.06.cls", "labels/a.cls"])
def test_a_label_without_an_image_is_named(tmp_path: Path, label: str):
    write_tar(tmp_path / "a.tar", {"cat/22.05.png": plain(10), label: b"dog"})
    with pytest.raises(InputError, match=rf"a.tar: {label}: a label without an image of its name; name both alike"):
        read(tmp_path / "a.tar")
