"""ImageNet's own files and Kaggle's, in tiny: the class of each image, wherever it is told."""

import gzip
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from dp_base.errors import InputError, MissingError
from dp_real.data.sets.class_names import task_classes
from dp_real.data.sets.imagenet import PROMPT_NAMES, ImageNetTask, imagenet_classes
from dp_real.data.sets.images import ImageSet
from dp_real.data.sets.places import count_images, locate, read_set
from tests.dp_real.data.sets.made import plain, values, write_tar

WNIDS = [entry.wnid for entry in imagenet_classes("imagenet1k")]
LABELS = [388, 15, 999, 15]  # of the validation images, in order
FLAT = {f"ILSVRC2012_val_{number:08}.JPEG": plain(number) for number in range(1, 5)}


def kaggle(root: Path) -> None:
    rows = [f"{Path(name).stem},{WNIDS[label]} 1 2 3 4 \n" for name, label in zip(FLAT, LABELS, strict=True)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows[::-1]))


def devkit_files() -> dict[str, bytes]:
    """Return the files of the development kit. It numbers the classes in its own order, which is backwards here."""
    kind = [("ILSVRC2012_ID", float), ("WNID", object), ("num_children", float)]
    synsets = np.array([(1000 - place, wnid, 0) for place, wnid in enumerate(WNIDS)], kind)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{1000 - label}\n" for label in LABELS)
    folder = "ILSVRC2012_devkit_t12/data"
    return {f"{folder}/meta.mat": meta.getvalue(), f"{folder}/ILSVRC2012_validation_ground_truth.txt": truth.encode()}


def devkit(root: Path) -> None:
    for name, content in devkit_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def packed_devkit(root: Path) -> None:
    kit = write_tar(root / "kit.tar", devkit_files()).read_bytes()
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress(kit))


def read(where: Path | str, task: ImageNetTask = "imagenet1k") -> ImageSet:
    found = locate(str(where))
    images = read_set(found, task_classes(task), (3, 8, 8), (), keep=False)
    assert count_images(found, task_classes(task), ()) == len(images.y)
    return images


def write_validation(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, image in FLAT.items():
        (folder / name).write_bytes(image)
    return folder


@pytest.mark.parametrize(
    ("truth", "place"), [(kaggle, "ILSVRC/Data/CLS-LOC/val"), (devkit, "val"), (packed_devkit, "val")]
)
def test_a_folder_of_validation_images(truth: Callable[[Path], None], place: str, tmp_path: Path):
    """The first folder is Kaggle's, whose table lies four folders above."""
    folder = write_validation(tmp_path / place)
    with pytest.raises(MissingError, match=r"put ILSVRC2012_devkit_t12.tar.gz .* or Kaggle's LOC_val_solution.csv"):
        read(folder)
    truth(tmp_path)
    images = read(folder)
    assert (images.y.tolist(), values(images)) == (LABELS, [1, 2, 3, 4])
    of_the_hundred = [WNIDS.index(entry.wnid) for entry in imagenet_classes("imagenet100")]
    kept = [of_the_hundred.index(label) for label in LABELS if label in of_the_hundred]
    assert kept
    assert read(folder, "imagenet100").y.tolist() == kept


def test_the_validation_tar(tmp_path: Path):
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", FLAT)
    with pytest.raises(MissingError, match=r"Kaggle's LOC_val_solution\.csv"):
        read(tmp_path / "ILSVRC2012_img_val.tar")
    packed_devkit(tmp_path)
    images = read(tmp_path / "ILSVRC2012_img_val.tar")
    assert (images.y.tolist(), values(images)) == (LABELS, [1, 2, 3, 4])


def test_the_training_tar_and_the_tars_of_classes_in_it(tmp_path: Path):
    """The tar files are read where they lie, and nothing is unpacked."""
    (tmp_path / "train").mkdir()
    for label in (999, 5):
        files = {f"{WNIDS[label]}_{row}.JPEG": plain(label % 100 + row) for row in range(2)}
        write_tar(tmp_path / "train" / f"{WNIDS[label]}.tar", files)
    whole = {f"{WNIDS[label]}.tar": (tmp_path / "train" / f"{WNIDS[label]}.tar").read_bytes() for label in (999, 5)}
    images = read(write_tar(tmp_path / "ILSVRC2012_img_train.tar", whole))
    assert (images.y.tolist(), values(images)) == ([999, 999, 5, 5], [99, 100, 5, 6])
    for where in (tmp_path / "train" / "n*.tar", tmp_path / "train"):
        images = read(where)
        assert (images.y.tolist(), values(images)) == ([5, 5, 999, 999], [5, 6, 99, 100])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("LOC_val_solution.csv", "a,b\n1,2\n"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\n"),
        ("ILSVRC2012_devkit_t12.tar.gz", ""),
    ],
)
def test_broken_tables_are_named(file: str, content: str, tmp_path: Path):
    folder = write_validation(tmp_path / "val")
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=r"cannot be read|is none of the 0 validation images"):
        read(folder)


# the list of classes


def test_just_the_names_that_are_ambiguous_were_changed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_real.data.sets.imagenet.PROMPT_NAMES", {})
    names = Counter(entry.name.casefold() for entry in imagenet_classes.__wrapped__("imagenet1k"))
    assert {name for name, count in names.items() if count > 1} == {"crane", "cardigan", "maillot"}
    entries = imagenet_classes.__wrapped__("imagenet1k")
    assert {entry.wnid for entry in entries if names[entry.name.casefold()] > 1} == set(PROMPT_NAMES)


def test_the_orders():
    """ImageNet-1k is sorted by folder; ImageNet-100 begins as CMC's list does, which is not sorted."""
    full = imagenet_classes("imagenet1k")
    assert len({entry.name.casefold() for entry in full}) == 1000
    assert [entry.wnid for entry in full] == sorted(entry.wnid for entry in full)
    assert [entry.index for entry in full] == list(range(1000))
    hundred = imagenet_classes("imagenet100")
    assert len(hundred) == 100
    assert [entry.wnid for entry in hundred[:3]] == ["n02869837", "n01749939", "n02488291"]
    assert all(full[entry.index] == entry for entry in hundred)
