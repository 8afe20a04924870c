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


def read(path: Path) -> ImageSet:
    return read_set(locate(str(path)), own_classes(["cat", "dog"]), (3, 8, 8), (), keep=False)


def write_links(path: Path, links: dict[str, tuple[bytes, str]], more: bytes = tarfile.REGTYPE) -> Path:
    """Write a tar file with cat/0.png, with links of these types to these names, and with dog/1.png of type `more`."""
    with tarfile.open(path, "w") as tar:
        for name, kind in (("cat/0.png", tarfile.REGTYPE), ("dog/1.png", more)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.size = len(plain(10)) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(plain(10 if name == "cat/0.png" else 20)))
        for name, (kind, target) in links.items():
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = target
            tar.addfile(entry)
    return path


def test_links_are_the_files_that_they_lead_to(tmp_path: Path):
    """A hard link names a file from the archive's root, a symbolic one from its own folder."""
    links = {
        "cat/hard.png": (tarfile.LNKTYPE, "dog/1.png"),
        "./cat/soft.png": (tarfile.SYMTYPE, "../dog/1.png"),
        "dog/twice.png": (tarfile.SYMTYPE, "../cat/soft.png"),
        "dog/._hidden.png": (tarfile.SYMTYPE, "nowhere"),
    }
    found = read(write_links(tmp_path / "a.tar", links))
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
    path = write_links(tmp_path / "a.tar", {"cat/link.png": (kind, target)})
    with pytest.raises(InputError, match=r"a.tar: cat/link.png is a link to .*, which is no file in it; archive the"):
        read(path)


def test_a_pipe_in_an_archive_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"a.tar: dog/1.png: a device, a pipe or a file with holes"):
        read(write_links(tmp_path / "a.tar", {}, more=tarfile.FIFOTYPE))


def test_a_file_with_holes_is_named(tmp_path: Path):
    holes = tarfile.TarInfo("cat/0.png")
    holes.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999"}
    holes.size = 512
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(holes, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    with pytest.raises(InputError, match=r"a.tar: cat/0.png: a device, a pipe or a file with holes"):
        read(tmp_path / "a.tar")


def test_a_name_that_stands_twice_is_named(tmp_path: Path):
    """As tar --append leaves it. Which one is meant is not said."""
    write_tar(tmp_path / "a.tar", {"cat/0.png": plain(10), "dog/0.png": plain(20)})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        entry = tarfile.TarInfo("./cat/0.png")
        entry.size = len(plain(30))
        tar.addfile(entry, io.BytesIO(plain(30)))
    with pytest.raises(InputError, match=r"a.tar: cat/0.png stands in it twice; leave one"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("damage", ["header", "joined", "cut", "cut in a header"])
def test_what_does_not_end_behind_its_last_file_is_no_whole_archive(tmp_path: Path, damage: str):
    """The library stops at a damaged header, and at the end of the first archive, without a word."""
    write_tar(tmp_path / "a.tar", {"cat/0.png": plain(10), "dog/0.png": plain(20)})
    whole = (tmp_path / "a.tar").read_bytes()
    second = whole.index(b"dog/0.png")
    end = second + 1024
    damaged = {
        "header": whole[:second] + b"D" + whole[second + 1 :],
        "joined": whole + whole,
        "cut": whole[:end],
        "cut in a header": whole[: second + 100],
    }
    assert read(tmp_path / "a.tar").y.tolist() == [CAT, DOG]
    (tmp_path / "a.tar").write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"a.tar: not a whole tar file: (behind byte .* joined|its end is missing)"):
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
    write_tar(tmp_path / "a.tar", files)
    found = read(tmp_path / "a.tar")
    assert values(found) == [10, 20, 30, 40, 50]
    assert found.y.tolist() == [DOG, CAT, DOG, CAT, CAT]


@pytest.mark.parametrize("label", ["cat/22.06.cls", "labels/a.cls"])
def test_a_label_without_an_image_is_named(tmp_path: Path, label: str):
    write_tar(tmp_path / "a.tar", {"cat/22.05.png": plain(10), label: b"dog"})
    with pytest.raises(InputError, match=rf"a.tar: {label}: a label without an image of its name; name both alike"):
        read(tmp_path / "a.tar")
