"""Folders that try the readers: odd names, pipes, ranges of a milliard files."""

import os
import re
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_figures.grids import draw_images
from dp_figures.stacks import draw_stacks
from dp_figures.tables import measured

from dp_base.errors import InputError, MissingError
from dp_real.data.sets.class_names import folder_names, own_classes
from dp_real.data.sets.images import read_image, read_regular
from dp_real.data.sets.places import MOST_FILES, locate
from dp_real.pool import Pool
from dp_real.pool.export import write_folder
from tests.dp_real.data.sets.made import fill, settings
from tests.dp_real.pool.made import batch

ODD = ("<script>", "a:b", "cash $x_1$ and $^$", "who?")


def test_a_class_may_have_any_name_that_the_file_system_takes(tmp_path: Path):
    folder = fill(tmp_path / "val", dict.fromkeys(ODD, 1))
    data = settings(folder, sets={"s:e?t": str(folder)}).load()
    assert data.task.classes == ODD
    assert data.validation.y.tolist() == data.sets["s:e?t"].y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "names",
    [
        ("a:b", "a?b", "a_b", "..", "../up", "a/b", "x\ny"),
        ("Cat", "cat", "CAT", "cat-0", "Cat-1-1", "Cat-1"),
        ("caf\u00e9", "cafe\u0301", "CAFE\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("\ufb01sh", "fish"),
        ("dot", "dot.", "dot ", "dot. .", "dot_"),
        ("a", "A", "A-0", "a-0"),
        ("con", "CON.txt", "Nul", "com1", "command"),
        ("x" * 201, "x" * 202, "X" * 300, "ä" * 300),
    ],
)
def test_folders_are_safe_found_again_and_stay_apart_on_every_file_system(names: tuple[str, ...]):
    folders = folder_names(names)
    classes = own_classes(names)
    if len(set(classes.names)) == len(names):
        assert [classes.label(folder, "here") for folder in folders] == [*range(len(names))]
    for same in (str.casefold, str.upper, lambda name: unicodedata.normalize("NFD", name.lower()).rstrip(". ")):
        assert len({same(name) for name in folders}) == len(names)
    for name in folders:
        assert not re.match(r"(?i)[.]|(con|prn|aux|nul|com\d|lpt\d)([.]|$)", name)
        assert not set(name) & set("/:?\n")
        assert len(name.encode()) <= 203


def test_an_export_keeps_classes_apart_whose_safe_names_are_alike(tmp_path: Path):
    pool = Pool(tmp_path / "pool", (1, 2, 2))
    pool.append(0, batch(pool, torch.rand(2, 1, 2, 2), label=np.arange(2)))
    (tmp_path / "out").mkdir()
    write_folder(pool, ("a:b", "a?b"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_b-0", "a_b-1", "metadata.jsonl"]


def test_dollars_in_names_are_no_formulas():
    names = ["cash $x_1$ and $^$", "$", "$\\frac{$", "a $ b"]
    images = draw_images(np.zeros((4, 1, 2, 2)), names, ["a"])
    assert [label.get_text() for label in images.axes[0].get_yticklabels()] == [n.replace("$", r"\$") for n in names]
    for name in names:
        draw_stacks(measured(name, [1.0], [2.0]).assign(x=name), xlabel="", ylabel="").draw_without_rendering()


def test_pipes_and_sockets_are_refused_without_being_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = settings(fill(tmp_path / "val", {"a": 1, "b": 2}))
    os.mkfifo(tmp_path / "val" / "a" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe.png: not a whole image: it is no regular file; repair or remove it"):
        data.load().validation.x[:]
    os.mkfifo(tmp_path / "shard.tar")
    with pytest.raises(InputError, match=r"shard.tar: no regular file"):
        locate(str(tmp_path / "shard.tar"))
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        listening.bind("socket.jpg")
        with pytest.raises(InputError, match="no regular file"):
            read_image(Path("socket.jpg"), 8, 3)
    with pytest.raises(ValueError, match="no regular file"):
        read_regular(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("v-{0..999999999}.tar", "1,000,000,000 files"),
        ("v-{0..9999}-{0..9999}.tar", "100,000,000 files"),
        (f"v-{{0..{'9' * 5000}}}.tar", "too many digits"),
        ("v-{3..1}.tar", "runs backwards; write {1..3}"),
    ],
)
def test_ranges_that_mean_too_much_are_refused_before_they_are_expanded(tmp_path: Path, pattern: str, said: str):
    with pytest.raises(InputError, match=said):
        locate(str(tmp_path / pattern))
    with pytest.raises(MissingError):
        locate(str(tmp_path / f"v-{{1..{min(MOST_FILES, 999)}}}.tar"))
