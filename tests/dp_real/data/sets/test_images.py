"""Real images in folders: which folder is which label, what is decoded when, and what is told of them."""

import os
import shutil
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dp_base.errors import InputError, MissingError, warn_once
from dp_real.data.examples import Examples
from dp_real.data.sets import images as reading
from dp_real.data.sets.images import decode_ahead, read_image
from dp_real.runtime.distributed import own_cores, read_slices
from tests.dp_real.data.sets.made import fill, plain, settings, values
from tests.refusals import refusal

PETS = {"cat": 200, "dog": 100, "emu": 30}


# which folder is which


def test_classes_are_those_of_the_folders(tmp_path, monkeypatch, caplog):
    """What is hidden is left out, what is not read is said, and a folder that is renamed later changes no record."""
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "pets", dict(reversed(PETS.items())))
    fill(tmp_path / "pets", {".cache": 0, "cat/.checkpoints": 0, "dog/sub": 0}, count=0)
    (tmp_path / "pets/cat/.checkpoints/0.png").write_bytes(plain(0))
    (tmp_path / "pets/cat/._0.png").write_bytes(b"left by macOS")
    (tmp_path / "pets/dog/1.heic").write_bytes(b"")
    (tmp_path / "pets/README.txt").write_text("not a class")
    (tmp_path / "pets/3.png").write_bytes(plain(0))
    config = settings("~/pets")
    data = config.load()
    assert data.task == config.task
    assert (data.task.classes, data.task.sample_shape) == (("cat", "dog", "emu"), (3, 8, 8))
    assert data.validation.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert values(data.validation) == [200, 200, 100, 100, 30, 30]
    assert data.test is data.validation
    assert "/pets: 1 files are not read, for their endings are none of images: .heic" in caplog.text
    assert "/pets: 1 images outside the class folders are not read" in caplog.text
    record = config.resolved()
    assert record.classes == ("cat", "dog", "emu")
    (tmp_path / "pets/emu").rename(tmp_path / "pets/ant")
    assert config.task.classes == ("ant", "cat", "dog")
    with refusal("ant: ant is none of the 3 classes"):
        record.load()


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path):
    """macOS writes folder names with each accent as a character of its own."""
    composed, apart = (unicodedata.normalize(form, "Grünspecht") for form in ("NFC", "NFD"))
    sides = [str(fill(tmp_path / f"{len(name)}", {name: 9, "Amsel": 0})) for name in (apart, composed)]
    for classes in (None, ["Amsel", apart]):
        own = settings(sides[0], test=sides[1], classes=classes, definitions={apart: "a bird"})
        assert (own.task.classes, own.task.definitions) == (("Amsel", composed), ("", "a bird"))
        assert own.load().test.y.tolist() == [0, 0, 1, 1]


def test_classes_in_the_order_of_the_configuration(tmp_path):
    """Folders are called by name or by number, have folders in them, and some names cannot be those of folders."""
    folders = {"names": ("emu", "cat_dog"), "numbers": ("0", "1"), "deep": ("emu/images", "cat_dog/images/more")}
    where = {key: str(fill(tmp_path / key, dict(zip(names, (30, 100), strict=True)))) for key, names in folders.items()}
    data = settings(where["names"], classes=["emu", "cat/dog"], test=where["numbers"], train=where["deep"]).load()
    assert data.task.classes == ("emu", "cat/dog")
    for part in (data.validation, data.test, data.train):
        assert part.y.tolist() == [0, 0, 1, 1]
    assert values(data.test) == [30, 30, 100, 100]
    assert ((data.train.x[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [30, 30, 100, 100]


def test_training_images_are_known_by_their_bytes(tmp_path, patch):
    """Their fingerprint does not depend on where they lie, and nothing is decoded for it."""
    patch("dp_real.data.sets.images.read_image", None)
    one, other = (fill(tmp_path / name, PETS) for name in ("one", "other"))

    def fingerprint(train, **more):
        training = settings(one, train=str(train), **more).load().train
        return training.fingerprint()

    known = fingerprint(one)
    assert fingerprint(other) == known
    assert known not in (fingerprint(one, size=16), fingerprint(one, channels=1))
    (other / "cat/1.png").write_bytes(plain(1))
    assert fingerprint(other) != known
    (one / "cat/1.png").rename(one / "dog/9.png")
    assert fingerprint(one) != known


def test_numbers_sort_as_numbers_and_images_may_be_grey(tmp_path):
    """Folders are those of ImageNet-V2, where '10' comes after '2'."""
    fill(tmp_path, {str(number): 10 * number for number in range(12)}, count=1)
    data = settings(tmp_path, channels=1).load()
    assert data.task.classes == tuple(str(number) for number in range(12))
    grey = [0.299 * 10 * number for number in range(12)]
    assert values(data.validation) == pytest.approx(grey, abs=1)


def test_a_stray_folder_is_named_and_skipped(tmp_path, caplog):
    pets = fill(tmp_path / "pets", PETS)
    (pets / "lost+found").mkdir()
    for _ in range(2):
        assert settings(pets, classes=["cat", "dog", "emu"]).load().validation.y.tolist() == [0, 0, 1, 1, 2, 2]
    told = f"{pets}/lost+found: lost+found is none of the 3 classes; leave it out, or name its class in data.classes"
    assert caplog.messages == [f"{told}; it is skipped"]


def test_what_is_wrong_with_a_folder(tmp_path):
    pets = fill(tmp_path / "pets", PETS)
    whole = fill(tmp_path / "whole", PETS)
    (pets / "elk").symlink_to(tmp_path / "gone")
    with refusal(r"elk: a link to .*/gone, which is gone; put it back", MissingError):
        settings(pets).load()
    assert settings(whole, sets={"more": str(pets)}).load().sets == {}  # which is told
    (pets / "elk").unlink()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/image.png").write_bytes(plain(0))
    fill(tmp_path / "one", {"a": 1})
    with refusal("no such folder; put images there", MissingError):
        settings(tmp_path / "absent").load()
    splits = fill(tmp_path / "splits", {f"{split}/{name}": 9 for split in ("train", "val") for name in PETS})
    for folder, message in (
        (tmp_path / "flat", "there are no folders in it"),
        (tmp_path / "one", "one class only, a"),
        (splits, rf"train and val are .* splits .*; name one, {splits}/val, or list the classes"),
    ):
        with refusal(message):
            settings(folder).load()
    with refusal("pets: no images of ape, bee, fly and 1 more; each class needs"):
        settings(pets, classes=["ape", "bee", "fly", "gnu", *PETS]).load()
    (pets / "cat/0.png").unlink()
    (pets / "cat/1.png").rename(pets / "cat/1.txt")
    with refusal("pets/cat: there are no images in it"):
        settings(pets).load()
    os.mkdir(os.fsencode(pets) + b"/caf\xe9")
    with refusal(r"'caf\\udce9': its name is not UTF-8: .*; rename it"):
        settings(pets).load()


def test_wrong_classes():
    for classes, message in (
        (["cat", 3], "at least 2 items .*, not 1"),
        ("imagenet", "should be 'imagenet1k' or 'imagenet100'"),
        (["cat", "dog", "cat"], "'cat' is in it twice"),
    ):
        with refusal(f"data.classes = .*{message}"):
            settings("anywhere", classes=classes)


def test_links_to_folders_are_followed_and_may_go_round(tmp_path):
    """Nor are class folders that are links passed over for an archive."""
    folder = fill(tmp_path / "val", {"cat": 9, "dog": 8})
    fill(tmp_path / "far", {"more": 5}, count=3)
    (folder / "cat/more").symlink_to(tmp_path / "far/more")
    (tmp_path / "far/more/round").symlink_to(folder / "cat")
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    (tmp_path / "linked/backup.tar").touch()
    data = settings(tmp_path / "linked").load().validation
    assert data.y.tolist() == [0] * 5 + [1] * 2
    assert values(data).count(5) == 3


def test_a_folder_is_read_whole_and_nothing_above_it(tmp_path, patch):
    """Images would be missing, or those of other classes count as of this one."""
    pets = fill(tmp_path / "pets", {"cat": 9, "dog": 8, "dog/more": 7})
    list_folder = os.scandir

    def refuse(path):
        if str(path).endswith("dog/more"):
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    patch("os.scandir", refuse)
    with refusal(r"dog/more: cannot be listed: Permission denied"):
        settings(pets).load()
    (pets / "dog/more").rename(tmp_path / "more")
    (pets / "dog/up").symlink_to(pets)
    with refusal(r"dog/up: a link to .*pets, which .*dog lies in; remove the link"):
        settings(pets).load()


# what is decoded when


def test_all_broken_files_are_named_together(tmp_path, patch):
    data = settings(fill(tmp_path, PETS, count=4))
    broken = [f"{name}.png: not a whole image" for name in ("cat/1", "cat/3", "emu/0")]
    for line in broken:
        (tmp_path / line.partition(":")[0]).write_bytes(b"")
    with pytest.raises(InputError) as raised:
        decode_ahead({"validation": data.load().validation})
    assert all(line in str(raised.value) for line in broken)
    patch("dp_real.data.sets.images.MAX_NAMED", 2)
    with refusal(r"; and 1 more$"):
        decode_ahead({"validation": data.load().validation})


@pytest.mark.parametrize(
    ("size", "decoded"), [(100, [0, 4, 8, 12, 16, 20]), (reading.IN_MEMORY_MAX_SIZE, [*range(21)])]
)
def test_of_a_set_on_disk_some_images_are_checked_and_all_of_one_in_memory(tmp_path, patch, size, decoded):
    """The images that are checked are evenly spaced over the whole set."""
    fill(tmp_path, PETS, count=7)
    patch("dp_real.data.sets.images.SAMPLED", 5)
    patch("dp_real.data.sets.images.IN_MEMORY_MAX_SIZE", size)
    images = settings(tmp_path).load().validation
    read = images.x._read
    rows_read = []
    patch(images.x, "_read", lambda rows: rows_read.extend(rows) or read(rows))
    decode_ahead({"validation": images})
    assert rows_read == decoded


def test_only_what_is_asked_for_is_decoded(tmp_path, patch):
    """An image is decoded once, unless the set is too large to be kept."""
    fill(tmp_path, PETS, count=3)
    decoded = []
    patch(
        "dp_real.data.sets.images.read_image", lambda path, *rest: decoded.append(path.name) or read_image(path, *rest)
    )
    kept = settings(tmp_path).load().validation
    assert decoded == []
    kept.x[2:4]
    assert sorted(decoded) == ["0.png", "2.png"]
    kept.x[0:4]
    assert sorted(decoded) == ["0.png", "0.png", "1.png", "2.png"]
    patch("dp_real.data.sets.images.IN_MEMORY_MAX_SIZE", 100)
    read = settings(tmp_path).load().validation
    for rows in (slice(0, 2), slice(7, 20), slice(4, 4), slice(None)):
        assert kept.x[rows].equal(read.x[rows])
    (tmp_path / "emu/2.png").write_bytes(b"")  # noticed when it is read
    with refusal(r"2\.png"):
        read.x[6:]
    assert len(kept.x[6:]) == 3


def test_processes_on_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 20)
    for processes, cores in (("1", 20), ("8", 2), ("32", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert own_cores() == cores


@pytest.mark.parametrize(
    ("processes", "sizes"), [(1, [256, 256, 88]), (3, [200] * 3), (4, [150] * 4), (700, [1] * 600)]
)
def test_each_process_has_a_slice_to_read(processes, sizes, patch):
    patch("dp_real.runtime.distributed.this_process", lambda: SimpleNamespace(num_processes=processes))
    assert [rows.stop - rows.start for rows in read_slices(600)] == sizes
    assert list(read_slices(0)) == []


# what is told


def low_bits(folder):
    """A PNG does not say that it uses 12 of its 16 bits, so that it reads as black."""
    rng = np.random.default_rng(0)
    for name, bits in (("cat", 16), ("dog", 12), ("emu", 10)):
        Image.fromarray(rng.integers(0, 2**bits, (8, 8), np.uint16)).save(folder / name / "0.png")
    return "/dog/0.png: its pixels have nearly one value, as in 2 of 3 images. 16-bit images that use"


def two_labels(folder):
    shutil.copy(folder / "cat/0.png", folder / "dog/9.png")
    return f"/cat/0.png and {folder}/dog/9.png: one image with two labels; 2 of 4 images are such"


@pytest.mark.parametrize("spoil", [low_bits, two_labels])
def test_odd_images_are_counted_and_told(spoil, tmp_path, caplog):
    """Of sets to evaluate, and of those that train a generator."""
    told = spoil(fill(tmp_path, PETS, count=1))
    data = settings(tmp_path, train=str(tmp_path)).load()
    decode_ahead({"validation": data.validation})
    assert told in caplog.text
    warn_once.cache_clear()
    caplog.clear()
    data.train.fingerprint()
    decode_ahead({"train": data.train.seen})
    assert told in caplog.text


def test_images_of_one_value_need_no_files(caplog):
    x = torch.linspace(-1, 1, 16).repeat(4, 1, 4, 1)
    x[2:] = 0.3
    decode_ahead({"one": Examples(x, torch.arange(4)), "other": Examples(torch.zeros(2, 5), torch.arange(2))})
    assert "example 2 of 4: its pixels have nearly one value, as in 2 of 4 images" in caplog.text


def test_texts_of_two_sets_are_told(caplog):
    texts = torch.arange(6, dtype=torch.int32).view(3, 2)
    decode_ahead({"test": Examples(texts, torch.arange(3)), "train": Examples(texts[1:], torch.arange(2))})
    assert "2 of 3 examples of test that were checked are in train, too, such as example 1 of 3" in caplog.text
