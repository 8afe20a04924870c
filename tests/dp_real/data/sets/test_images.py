"""Real images in folders: which folder is which label, and what a picture becomes, whatever its format."""

import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dp_real.data.sets.images
from dp_base.errors import InputError, MissingError
from dp_real.config import parse_config
from dp_real.data.image_folder import FolderConfig
from dp_real.data.sets.class_names import folder_name, own_classes, warn_once
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.data.sets.images import decode_ahead, read_folder, read_image
from dp_real.distributed import own_cores, read_slices
from dp_real.examples import Examples
from dp_real.runtime.pixels import to_float

COLORS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "emu": (30, 30, 200)}


def fill(root: Path, folders: dict[str, tuple[int, int, int]], count: int = 2, size: tuple[int, int] = (8, 8)) -> Path:
    """Make a folder for each key, with `count` images of its colour."""
    for name, color in folders.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", size, color).save(root / name / f"{index}.png")
    return root


def settings(validation: Path, **more: Any) -> FolderConfig:
    data = {"source": "folder", "validation": str(validation), "size": 8} | more
    rest = {"name": "own", "generator": {"kind": "latent"}, "learner": {"kind": "conv"}}
    found = parse_config({"data": data, "training": {"steps": 1}, "practice": {"initial": 3}} | rest).data
    assert isinstance(found, FolderConfig)
    return found


def colors(x: torch.Tensor) -> list[tuple[int, ...]]:
    """Return the colour of each image [n, 3, S, S], which has one colour throughout."""
    assert (x == x[:, :, :1, :1]).all()
    pixels = ((x + 1) * 127.5).round() if x.is_floating_point() else x
    return [tuple(row) for row in pixels[:, :, 0, 0].tolist()]


# which folder is which


def test_classes_are_those_of_the_folders(tmp_path: Path):
    fill(tmp_path, dict(reversed(COLORS.items())))
    (tmp_path / "README.txt").write_text("not a class")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    data = settings(tmp_path).load()
    assert data.task.classes == settings(tmp_path).task.classes == ("cat", "dog", "emu")
    assert data.task.sample_shape == settings(tmp_path).task.sample_shape == (3, 8, 8)
    assert data.task.n_classes == 3
    assert data.validation.y.tolist() == [0, 0, 1, 1, 2, 2]
    x = data.validation.x[:]
    assert x.dtype == torch.uint8
    assert colors(x) == [color for color in COLORS.values() for _ in range(2)]
    assert data.test is data.validation
    assert data.generator is None


def test_a_record_has_the_names_of_the_folders(tmp_path: Path):
    """Otherwise a folder that is renamed later would change the labels."""
    data = settings(fill(tmp_path, COLORS))
    record: Any = data.resolved()
    assert record.classes == ("cat", "dog", "emu")
    assert record.resolved() == record
    (tmp_path / "emu").rename(tmp_path / "ant")
    assert data.task.classes == ("ant", "cat", "dog")
    with pytest.raises(InputError, match="ant: ant is none of the 3 classes"):
        record.load()


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path: Path):
    """macOS writes folder names with each accent as a character of its own."""
    composed, apart = (unicodedata.normalize(form, "Grünspecht") for form in ("NFC", "NFD"))
    assert composed != apart
    fill(tmp_path / "apart", {apart: (9, 9, 9), "Amsel": (0, 0, 0)})
    fill(tmp_path / "composed", {composed: (9, 9, 9), "Amsel": (0, 0, 0)})
    for classes in (None, ["Amsel", apart], ["Amsel", composed]):
        for validation, test in (("apart", "composed"), ("composed", "apart")):
            own: Any = settings(
                tmp_path / validation, test=str(tmp_path / test), classes=classes, definitions={apart: "a bird"}
            )
            assert own.task.classes == ("Amsel", composed)
            assert own.task.definitions == ("", "a bird")
            assert own.load().test.y.tolist() == [0, 0, 1, 1]


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "birds", COLORS)
    assert settings(Path("~/birds")).task.classes == ("cat", "dog", "emu")


def test_what_is_hidden_is_left_out_and_what_is_not_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fill(tmp_path, COLORS)
    (tmp_path / "cat" / "._0.png").write_bytes(b"left by macOS")
    (tmp_path / "cat" / ".checkpoints").mkdir()
    (tmp_path / "cat" / ".checkpoints" / "0.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    (tmp_path / "dog" / "1.heic").write_bytes(b"")
    (tmp_path / "dog" / "sub").mkdir()
    assert len(settings(tmp_path).load().validation.y) == 6
    assert f"{tmp_path}: 1 files are not read, for their endings are none of images: .heic" in caplog.text


def test_classes_in_the_order_of_the_configuration(tmp_path: Path):
    """Folders are called by name or by number, have folders in them, and some names cannot be those of folders."""
    fill(tmp_path / "names", {"emu": COLORS["emu"], "cat_dog": COLORS["dog"]})
    fill(tmp_path / "numbers", {"0": COLORS["emu"], "1": COLORS["dog"]})
    fill(tmp_path / "deep", {"emu/images": COLORS["emu"], "cat_dog/images/more": COLORS["dog"]})
    config = settings(
        tmp_path / "names",
        classes=["emu", "cat/dog"],
        test=str(tmp_path / "numbers"),
        train=str(tmp_path / "deep"),
    )
    data = config.load()
    assert data.task.classes == ("emu", "cat/dog")
    assert folder_name("cat/dog") == "cat_dog"
    assert data.generator is not None
    for part in (data.validation, data.test, data.generator):
        assert part.y.tolist() == [0, 0, 1, 1]
        assert colors(torch.cat([part.x[0:3], part.x[3:4]])) == [COLORS["emu"]] * 2 + [COLORS["dog"]] * 2
    assert isinstance(data.generator.x, torch.Tensor)


def test_training_images_are_known_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their fingerprint does not depend on where they lie, and nothing is decoded for it."""
    monkeypatch.setattr("dp_real.data.sets.images.read_image", None)
    one, other = (fill(tmp_path / name, COLORS) for name in ("one", "other"))

    def fingerprint(**settings_: Any) -> list[str]:
        training = settings(one, **settings_).load().generator
        assert training is not None
        return training.fingerprint()

    known = fingerprint(train=str(one))
    assert fingerprint(train=str(other)) == known
    assert fingerprint(train=str(one), size=16) != known
    assert fingerprint(train=str(one), channels=1) != known
    Image.new("RGB", (8, 8), (1, 2, 3)).save(other / "cat" / "1.png")
    assert fingerprint(train=str(other)) != known
    (one / "cat" / "1.png").rename(one / "dog" / "9.png")
    assert fingerprint(train=str(one)) != known


def test_grey_images_have_one_channel(tmp_path: Path):
    fill(tmp_path, {"black": (0, 0, 0), "grey": (128, 128, 128)})
    data = settings(tmp_path, channels=1, train=str(tmp_path)).load()
    assert data.task.sample_shape == (1, 8, 8)
    assert data.generator is not None
    assert data.generator.x[:, 0, 0, 0].tolist() == pytest.approx([-1, -1, 0, 0], abs=0.01)
    assert data.validation.x[:].shape == (4, 1, 8, 8)


def test_numbers_sort_as_numbers(tmp_path: Path):
    """Folders are those of ImageNet-V2, where '10' comes after '2'."""
    fill(tmp_path, {str(number): (number, 0, 0) for number in range(12)}, count=1)
    data = settings(tmp_path).load()
    assert data.task.classes == tuple(str(number) for number in range(12))
    assert colors(data.validation.x[:]) == [(number, 0, 0) for number in range(12)]


def test_names_that_are_numbers_are_not_positions():
    assert own_classes(["3", "1"]).folders == {"3": 0, "1": 1}


def test_imagenet_folders_by_wnid_number_or_name(tmp_path: Path):
    """ImageNet-100 is read from a full ImageNet-1k. Other classes are left out, and numbers count the 1,000 classes."""
    classes = settings(tmp_path, classes="imagenet100").labels
    hundred = imagenet_classes("imagenet100")
    full = imagenet_classes("imagenet1k")
    assert classes.names == tuple(entry.name for entry in hundred)
    other = next(entry for entry in full if entry not in hundred)
    for label, entry in enumerate(hundred):
        assert classes.folders[entry.wnid] == classes.folders[str(entry.index)] == label
        assert classes.folders[entry.name] == label
    assert classes.folders[other.wnid] is classes.folders[str(other.index)] is None

    fill(tmp_path / "wnid", {hundred[2].wnid: (2, 0, 0), hundred[1].wnid: (1, 0, 0), other.wnid: (9, 9, 9)})
    images = read_folder(tmp_path / "wnid", classes, (3, 8, 8), [1, 2])
    assert images.y.tolist() == [1, 1, 2, 2]
    assert colors(images.x[0:4]) == [(1, 0, 0)] * 2 + [(2, 0, 0)] * 2
    fill(tmp_path / "v2", {str(hundred[7].index): (7, 0, 0), str(other.index): (9, 9, 9)})
    assert read_folder(tmp_path / "v2", classes, (3, 8, 8), []).y.tolist() == [7, 7]
    fill(tmp_path / "others", {other.wnid: (9, 9, 9)})
    with pytest.raises(InputError, match="none of its classes"):
        read_folder(tmp_path / "others", classes, (3, 8, 8), [])


def test_a_stray_folder_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pets = fill(tmp_path / "pets", COLORS)
    (pets / "lost+found").mkdir()
    for _ in range(2):
        assert settings(pets, classes=["cat", "dog", "emu"]).load().validation.y.tolist() == [0, 0, 1, 1, 2, 2]
    told = f"{pets}/lost+found: lost+found is none of the 3 classes; leave it out, or name its class in data.classes"
    assert caplog.messages == [f"{told}; it is skipped"]


def test_what_is_wrong_with_a_folder(tmp_path: Path):
    with pytest.raises(MissingError, match="no such folder; put images there") as caught:
        settings(tmp_path / "absent").load()
    assert caught.value.exit_status == 3
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "image.png")
    with pytest.raises(InputError, match="there are no folders in it"):
        settings(tmp_path / "flat").load()
    pets = fill(tmp_path / "pets", COLORS)
    with pytest.raises(InputError, match=r"pets/\w+: \w+ is none of the 2 classes; leave it out"):
        settings(pets, classes=["ape", "bee"]).load()
    with pytest.raises(InputError, match=r"emu is none of the 3 classes; did you mean emus\?"):
        settings(pets, classes=["cat", "dog", "emus"]).load()
    with pytest.raises(InputError, match="pets: no images of ape, bee, fly and 1 more; each class needs some"):
        settings(pets, classes=["ape", "bee", "fly", "gnu", *COLORS]).load()
    (pets / "cat" / "0.png").unlink()
    (pets / "cat" / "1.png").rename(pets / "cat" / "1.txt")
    with pytest.raises(InputError, match="pets/cat: there are no images in it"):
        settings(pets).load()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat"], "at least two names"),
        (["cat", ""], "at least two names"),
        (["cat", 3], "at least two names"),
        ("imagenet", "one of imagenet1k, imagenet100"),
        (["cat", "dog", "cat"], "'cat' is in it twice"),
    ],
)
def test_wrong_classes(classes, message: str):
    with pytest.raises(InputError, match=f"data.classes = .*{message}"):
        settings(Path("anywhere"), classes=classes)


def test_a_resolved_copy_is_equal():
    for classes in (None, ["cat", "dog"], "imagenet100"):
        data = settings(Path("anywhere"), **({"classes": classes} if classes else {}))
        assert (
            parse_config(
                {"name": "own", "data": data.model_dump(mode="json"), "generator": {"kind": "latent"}}
                | {"learner": {"kind": "conv"}, "training": {"steps": 1}, "practice": {"initial": 3}}
            ).data
            == data
        )


# what is broken, and what is decoded when


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_file_that_is_no_whole_image_is_named(tmp_path: Path, ending: str, damage: str):
    folder = fill(tmp_path, COLORS, count=1)
    path = folder / "dog" / f"bad.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no image at all", "empty": b""}[damage])
    data = settings(folder).load()
    with pytest.raises(InputError, match=rf"dog/bad.{ending}: not a whole image: .*; repair or remove it"):
        decode_ahead(data.validation, data.test)


def test_all_broken_files_are_named_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = settings(fill(tmp_path, COLORS, count=4))
    for name in ("cat/1", "cat/3", "emu/0"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(InputError) as raised:
        decode_ahead(data.load().validation)
    assert [name for name in ("cat/1", "cat/3", "emu/0") if f"{name}.png: not a whole image" in str(raised.value)] == [
        "cat/1",
        "cat/3",
        "emu/0",
    ]
    monkeypatch.setattr(dp_real.data.sets.images, "MOST_NAMED", 2)
    with pytest.raises(InputError, match=r"; and 1 more$"):
        decode_ahead(data.load().validation)


def test_a_large_set_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, COLORS, count=3)
    kept = settings(tmp_path).load().validation
    monkeypatch.setattr(dp_real.data.sets.images, "IN_MEMORY", 100)
    read = settings(tmp_path).load().validation
    for rows in (slice(0, 2), slice(1, 9), slice(7, 20), slice(4, 4), slice(None)):
        assert torch.equal(kept.x[rows], read.x[rows])
    (tmp_path / "emu" / "2.png").write_bytes(b"")  # noticed when it is read
    with pytest.raises(InputError, match=r"2\.png"):
        read.x[6:]
    assert len(kept.x[6:]) == 3


def test_of_a_set_on_disk_some_images_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The images that are checked are evenly spaced over the whole set."""
    fill(tmp_path, COLORS, count=7)
    monkeypatch.setattr(dp_real.data.sets.images, "SAMPLED", 5)
    images = read_folder(tmp_path, own_classes(sorted(COLORS)), (3, 8, 8), range(3), keep=False)
    read = images.x._read
    asked = []
    monkeypatch.setattr(images.x, "_read", lambda rows: asked.extend(rows) or read(rows))
    decode_ahead(images)
    assert asked == [0, 4, 8, 12, 16, 20]
    (tmp_path / "dog" / "1.png").write_bytes(b"")  # row 8
    with pytest.raises(InputError, match=r"dog/1\.png"):
        decode_ahead(images)


def test_only_what_is_asked_for_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each process decodes an image that is kept once."""
    fill(tmp_path, COLORS, count=3)
    decoded = []
    monkeypatch.setattr(
        dp_real.data.sets.images,
        "read_image",
        lambda path, *rest: decoded.append(path.name) or read_image(path, *rest),
    )
    validation = settings(tmp_path).load().validation
    assert decoded == []
    validation.x[2:4]
    assert sorted(decoded) == ["0.png", "2.png"]
    validation.x[0:4]
    assert sorted(decoded) == ["0.png", "0.png", "1.png", "2.png"]


def test_processes_on_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(20), raising=False)
    for processes, cores in (("1", 20), ("8", 2), ("32", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert own_cores() == cores
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert own_cores() == 20
    monkeypatch.setattr("joblib.externals.loky.backend.context._cpu_count_cgroup", lambda cores: 5)  # a quota
    assert own_cores() == 5


@pytest.mark.parametrize(
    ("processes", "sizes"), [(1, [256, 256, 88]), (3, [200] * 3), (4, [150] * 4), (700, [1] * 600)]
)
def test_each_process_has_a_slice_to_read(processes: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_real.distributed.this_process", lambda: SimpleNamespace(num_processes=processes))
    assert [rows.stop - rows.start for rows in read_slices(600)] == sizes
    assert list(read_slices(0)) == []


def test_links_to_folders_are_followed_and_may_go_round(tmp_path: Path):
    folder = fill(tmp_path / "val", {"cat": (9, 0, 0), "dog": (0, 9, 0)})
    fill(tmp_path / "far", {"more": (5, 0, 0)}, count=3)
    (folder / "cat" / "more").symlink_to(tmp_path / "far" / "more")
    (tmp_path / "far" / "more" / "round").symlink_to(folder / "cat")
    (folder / "dog" / "up").symlink_to(folder / "dog")
    data = settings(folder).load().validation
    assert data.y.tolist() == [0] * 5 + [1] * 2
    assert colors(to_float(data.x[:])).count((5, 0, 0)) == 3


def test_class_folders_that_are_links_are_not_passed_over_for_an_archive(tmp_path: Path):
    fill(tmp_path / "far", {"cat": (9, 0, 0), "dog": (0, 9, 0)})
    (tmp_path / "val").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).symlink_to(tmp_path / "far" / name)
    (tmp_path / "val" / "backup.tar").touch()
    assert settings(tmp_path / "val").load().validation.y.tolist() == [0, 0, 1, 1]


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path):
    folder = fill(tmp_path / "val", {"cat": (9, 0, 0), "dog": (0, 9, 0)})
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")
    with pytest.raises(InputError, match=r"its folder 'caf\\udce9' is not UTF-8; rename it"):
        settings(folder).load()


# what is told


def test_images_of_one_value_are_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A PNG does not say that it uses 12 of its 16 bits, so that it reads as black."""
    rng = np.random.default_rng(0)
    for name, bits in (("cat", 16), ("dog", 12), ("emu", 10)):
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(0, 2**bits, (8, 8), np.uint16)).save(tmp_path / name / "0.png")
    data = settings(tmp_path, train=str(tmp_path)).load()
    told = "/dog/0.png: its pixels have nearly one value; so have those of 2 of 3 images. Those of 16 bits that use"
    decode_ahead(data.validation)
    assert told in caplog.text
    warn_once.cache_clear()
    caplog.clear()
    assert data.generator is not None
    assert data.generator.x.shape == (3, 3, 8, 8)
    assert told in caplog.text


def test_images_of_one_value_are_told_for_any_source(caplog: pytest.LogCaptureFixture):
    x = torch.linspace(-1, 1, 16).repeat(4, 1, 4, 1)
    x[2:] = 0.3
    decode_ahead(Examples(x, torch.arange(4)), Examples(torch.zeros(2, 5), torch.arange(2)))
    assert "image 2 of 4: its pixels have nearly one value; so have those of 2 of 4 images" in caplog.text


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("way", ["folder", "symbolic", "hard", "copy"])
def test_an_image_with_two_labels_is_told(
    tmp_path: Path, way: str, in_memory: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    fill(tmp_path, COLORS)
    ways: dict[str, Any] = {
        "folder": lambda: (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat"),
        "symbolic": lambda: (tmp_path / "dog" / "9.png").symlink_to(tmp_path / "cat" / "1.png"),
        "hard": lambda: os.link(tmp_path / "cat" / "1.png", tmp_path / "dog" / "9.png"),
        "copy": lambda: shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "dog" / "9.png"),
    }
    for name in COLORS:
        Image.new("RGB", (8, 8), (9, len(name), ord(name[0]))).save(tmp_path / name / "1.png")
    ways[way]()
    data = settings(tmp_path, train=str(tmp_path)).load()
    if not in_memory:
        monkeypatch.setattr(dp_real.data.sets.images, "SAMPLED", 1)
        monkeypatch.setattr(dp_real.data.sets.images, "IN_MEMORY", 0)
        data = settings(tmp_path, train=str(tmp_path)).load()
    images = (4, 8) if way == "folder" else (2, 7)
    told = "one image with two labels; of such are {} of {} images".format(*images)
    decode_ahead(data.validation)
    assert (told in caplog.text) == (in_memory or way != "copy")
    warn_once.cache_clear()
    caplog.clear()
    assert data.generator is not None
    data.generator.fingerprint()
    assert told in caplog.text


def test_the_splits_of_a_set_are_no_classes(tmp_path: Path):
    fill(tmp_path, {f"{split}/{name}": color for split in ("train", "val") for name, color in COLORS.items()})
    with pytest.raises(InputError, match=rf"train and val are .* splits .*; name one, {tmp_path}/val, or list the cl"):
        settings(tmp_path).load()
    assert settings(tmp_path / "val", train=str(tmp_path / "train")).load().task.classes == ("cat", "dog", "emu")
    assert settings(tmp_path, classes=["train", "val"]).load().task.classes == ("train", "val")
