"""ImageNet as it is distributed: validation images without folders. A file beside them tells their classes.

That file is Kaggle's LOC_val_solution.csv, or the development kit, ILSVRC2012_devkit_t12, unpacked or not. It may lie
beside the images or up to four folders above them, as in Kaggle's archive.
"""

import csv
import re
import tarfile
from functools import cache
from io import BytesIO
from pathlib import Path

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data.sets.encoded import NamedImages

IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})")
WNID = re.compile(r"n\d{8}")
KAGGLE = "LOC_val_solution.csv"
KIT = "ILSVRC2012_devkit_t12"
TRUTH = f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt"
META = f"{KIT}/data/meta.mat"
MOST_FOLDERS_ABOVE = 4


def is_flat(folder: Path) -> bool:
    """Whether validation images lie in the folder itself."""
    return next(folder.glob("ILSVRC2012_val_*"), None) is not None


def read_flat(folder: Path) -> NamedImages:
    """Find the validation images in a folder, in order, with their WordNet ids. Raises as `validation_wnid` does."""
    files = sorted(file for file in folder.iterdir() if IMAGE.match(file.name))
    return NamedImages(files, [validation_wnid(file.name, folder) for file in files])


def validation_wnid(name: str, folder: Path) -> str:
    """Return the WordNet id of an image such as ILSVRC2012_val_00000001.JPEG, in `folder` or in a tar file there.

    Raises MissingError if no file tells the classes, InputError if that file is broken, or does not list the image.
    """
    match = IMAGE.match(name)
    wnids = _validation_wnids(folder.resolve())
    wnid = wnids.get(int(match[1])) if match else None
    if wnid is None:
        raise InputError(f"{folder}: {name} is none of the {len(wnids):,} validation images whose class is known")
    return wnid


@cache
def _validation_wnids(folder: Path) -> dict[int, str]:
    """Return the WordNet ids by the images' numbers, from 1."""
    for place in (folder, *folder.parents[:MOST_FOLDERS_ABOVE]):
        with foreign_file(place, "the classes of the validation images cannot be read"):
            wnids = _wnids_at(place)
        if wnids is not None:
            return wnids
    raise MissingError(
        f"{folder}: images without class folders; put {KIT}.tar.gz (the development kit) or Kaggle's {KAGGLE}, which "
        "tell their classes, beside them"
    )


def _wnids_at(place: Path) -> dict[int, str] | None:
    """Return None if this folder has no file that tells the WordNet ids."""
    if (place / KAGGLE).is_file():
        return _read_kaggles(place / KAGGLE)
    if (place / TRUTH).is_file():
        return _read_kit((place / TRUTH).read_text(), (place / META).read_bytes())
    if (place / f"{KIT}.tar.gz").is_file():
        with tarfile.open(place / f"{KIT}.tar.gz") as kit:
            truth = _member(kit, TRUTH)
            meta = _member(kit, META)
        return _read_kit(truth.decode(), meta)
    return None


def _read_kaggles(file: Path) -> dict[int, str]:
    """Kaggle's table has an image's name, and its class with boxes."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [(IMAGE.match(row["ImageId"]), row["PredictionString"].split()[0]) for row in csv.DictReader(lines)]
    return {int(match[1]): wnid for match, wnid in rows if match}


def _read_kit(truth: str, meta: bytes) -> dict[int, str]:
    """Read the development kit's list of classes and its table of what the numbers in that list mean.

    The list has a number for each image, in order. It is not the place of the class among the sorted folders.
    """
    from scipy.io import loadmat

    synsets = loadmat(BytesIO(meta), squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return {number: wnids[int(line)] for number, line in enumerate(truth.split(), 1)}


def _member(kit: tarfile.TarFile, name: str) -> bytes:
    """Raises KeyError or ValueError if there is no file of that name."""
    file = kit.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()
