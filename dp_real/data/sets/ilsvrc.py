"""ImageNet as it is distributed: validation images without folders, whose classes a file beside them tells.

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

IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})")
WNID = re.compile(r"n\d{8}")
KAGGLE, KIT = "LOC_val_solution.csv", "ILSVRC2012_devkit_t12"
TRUTH, META = f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt", f"{KIT}/data/meta.mat"
ABOVE = 4  # folders


def is_flat(folder: Path) -> bool:
    """Whether validation images lie in the folder itself."""
    return next(folder.glob("ILSVRC2012_val_*"), None) is not None


def read_flat(folder: Path) -> tuple[list[Path], list[str]]:
    """The validation images in a folder, in order, and their WordNet ids. Raises as `validation_wnid` does."""
    files = sorted(file for file in folder.iterdir() if IMAGE.match(file.name))
    return list(files), [validation_wnid(file.name, folder) for file in files]


def validation_wnid(name: str, folder: Path) -> str:
    """The WordNet id of a validation image, as ILSVRC2012_val_00000001.JPEG, that lies in `folder` or in a file there.

    Raises MissingError if no file tells the classes, InputError if that file is broken, or does not have the image.
    """
    match = IMAGE.match(name)
    wnids = _validation_wnids(folder.resolve())
    wnid = wnids.get(int(match[1])) if match else None
    if wnid is None:
        raise InputError(f"{folder}: {name} is none of the {len(wnids):,} validation images whose class is known")
    return wnid


@cache
def _validation_wnids(folder: Path) -> dict[int, str]:
    """The WordNet id of each validation image by its number, from 1."""
    for place in (folder, *folder.parents[:ABOVE]):
        try:
            if (place / KAGGLE).is_file():
                return _kaggle(place / KAGGLE)
            if (place / TRUTH).is_file():
                return _kit((place / TRUTH).read_text(), (place / META).read_bytes())
            if (place / f"{KIT}.tar.gz").is_file():
                with tarfile.open(place / f"{KIT}.tar.gz") as kit:
                    truth, meta = (_member(kit, name) for name in (TRUTH, META))
                return _kit(truth.decode(), meta)
        except (OSError, ValueError, KeyError, IndexError, NotImplementedError, tarfile.TarError) as error:
            raise InputError(f"{place}: the classes of the validation images cannot be read: {error!r}") from error
    raise MissingError(
        f"{folder}: images without class folders; put {KIT}.tar.gz (the development kit) or Kaggle's {KAGGLE}, which "
        "tell their classes, beside them"
    )


def _kaggle(file: Path) -> dict[int, str]:
    """By Kaggle's table: ImageId, and the class with boxes."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [(IMAGE.match(row["ImageId"]), row["PredictionString"].split()[0]) for row in csv.DictReader(lines)]
    return {int(match[1]): wnid for match, wnid in rows if match}


def _kit(truth: str, meta: bytes) -> dict[int, str]:
    """By the kit: a number for each image, in order, which is not the class's place among the sorted folders."""
    from scipy.io import loadmat

    synsets = loadmat(BytesIO(meta), squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return {number: wnids[int(line)] for number, line in enumerate(truth.split(), 1)}


def _member(kit: tarfile.TarFile, name: str) -> bytes:
    file = kit.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()
