"""Real images in folders: DIR/CLASS/image.jpg, read as RGB in [-1, 1], resized and cropped to a square.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read is an InputError that
names it: a set that silently lost images would have accuracies of its own. Files beside the class folders are no
concern of ours (archives come with a README), nor are those within that are no images by their ending.
"""

import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dp_real.config import FolderConfig
from dp_real.errors import InputError, MissingError
from dp_real.imagenet import imagenet_classes
from dp_real.protocols import Images, RealData

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IN_MEMORY = 8 * 2**30  # bytes, at one a pixel and channel: 57,000 images of 224 x 224. Larger sets stay on disk


@dataclass(frozen=True)
class Classes:
    """Label i is names[i]. `folders`: the label of each folder; None where this task leaves a known class out."""

    names: tuple[str, ...]
    folders: Mapping[str, int | None]


class ImageFiles:
    """Rows float32 [n, *sample_shape] that are read from files, at once if there is room for them, else as asked for.

    Raises InputError when it reads a file that is no whole image.
    """

    def __init__(self, paths: Sequence[Path], sample_shape: tuple[int, ...]) -> None:
        """sample_shape: [C, S, S], C = 1 (grey) or 3."""
        self.paths = paths
        self.shape = (len(paths), *sample_shape)
        self._pixels = self._read(paths) if math.prod(self.shape) <= IN_MEMORY else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice) -> Tensor:
        pixels = self._read(self.paths[rows]) if self._pixels is None else self._pixels[rows]
        return pixels / 127.5 - 1

    def split(self, split_size: int) -> Iterator[Tensor]:
        """Batches of rows, in order."""
        return (self[start : start + split_size] for start in range(0, len(self), split_size))

    def _read(self, paths: Sequence[Path]) -> Tensor:
        _, channels, size, _ = self.shape
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # decoding releases the interpreter's lock
            return torch.stack(list(threads.map(lambda path: read_image(path, size, channels), paths)))


@dataclass(frozen=True)
class FolderImages:
    """As Images, from files. y: int64 [n]."""

    x: ImageFiles
    y: Tensor


def load_folders(config: FolderConfig) -> RealData:
    """The sets of a configuration. Every class must have images in each; a train set is kept in memory, as float32.

    Raises MissingError for a folder that is not there, InputError for one that does not hold what it should.
    """
    classes, shape = task_classes(config), (3, config.size, config.size)

    def load(folder: str) -> FolderImages:
        return read_folder(Path(folder), classes, shape, range(len(classes.names)))

    validation = load(config.validation)
    train = load(config.train) if config.train else None
    return RealData(
        generator=Images(train.x[:], train.y) if train else None,
        validation=validation,
        test=load(config.test) if config.test else validation,
        classes=classes.names,
    )


def task_classes(config: FolderConfig) -> Classes:
    """The classes of a configuration, and which folder is which; reads no image."""
    match config.classes:
        case None:
            return own_classes([path.name for path in class_folders(Path(config.validation))])
        case "imagenet1k" | "imagenet100" as task:
            chosen = imagenet_classes(task)
            labels = {entry.wnid: label for label, entry in enumerate(chosen)}
            every = imagenet_classes("imagenet1k")
            folders = {
                name: labels.get(entry.wnid)
                for entry in every
                for name in (entry.wnid, str(entry.index), folder_name(entry.name))
            }
            return Classes(tuple(entry.name for entry in chosen), folders)
        case names:
            return own_classes(names)


def own_classes(names: Sequence[str]) -> Classes:
    """A user's classes. Their folders bear their names, or, unless a name is a number itself, their numbers from 0."""
    folders: dict[str, int | None] = {folder_name(name): label for label, name in enumerate(names)}
    if not any(name.isdecimal() for name in folders):
        folders |= {str(label): label for label in range(len(names))}
    return Classes(tuple(names), folders)


def folder_name(name: str) -> str:
    """A class's name as that of a folder: what file systems forbid becomes an underscore."""
    return re.sub(r'[\\/:*?"<>|]', "_", name)


def class_folders(folder: Path) -> list[Path]:
    """The folders within, hidden ones apart: as numbers if they all are numbers, else by name.

    Raises MissingError if there is no such folder, InputError if there are none within it.
    """
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; put images there, as {folder}/CLASS/IMAGE.jpg")
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise InputError(f"{folder}: there are no folders in it; images must be in {folder}/CLASS/IMAGE.jpg")
    numbers = all(path.name.isdecimal() for path in found)
    return sorted(found, key=lambda path: (int(path.name) if numbers else 0, path.name))


def read_folder(folder: Path, classes: Classes, sample_shape: tuple[int, ...], needed: Collection[int]) -> FolderImages:
    """The images of a folder, ordered by label, then by path, as rows of sample_shape [C, S, S].

    Raises InputError for a folder that is no class's, one without images, and if a label of `needed` has none.
    """
    files: dict[int, list[Path]] = {}
    for path in class_folders(folder):
        if path.name not in classes.folders:
            near = get_close_matches(path.name, classes.folders, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; move it away, or name its class in data.classes"
            raise InputError(f"{path}: {path.name} is none of the {len(classes.names)} classes{hint}")
        label = classes.folders[path.name]
        if label is None:
            continue
        images = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
        if not images:
            raise InputError(f"{path}: there are no images in it ({', '.join(sorted(ENDINGS))})")
        files.setdefault(label, []).extend(images)
    missing = [classes.names[label] for label in sorted(set(needed) - set(files))]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{folder}: no images of {', '.join(missing[:3])}{rest}; each class needs a folder")
    if not files:
        raise InputError(f"{folder}: none of its classes is one of this task's {len(classes.names)}")
    labels = [label for label in sorted(files) for _ in files[label]]
    paths = [path for label in sorted(files) for path in files[label]]
    return FolderImages(ImageFiles(paths, sample_shape), torch.tensor(labels))


def read_image(path: Path, size: int, channels: int) -> Tensor:
    """uint8 [C, S, S]: upright, alpha over white, the shorter side resized to `size` and the longer one cropped to it.

    Raises InputError for a file that is no whole image.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # convert() would clip 16 bits instead of scaling them
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (size, size), Image.Resampling.BICUBIC)
    except Exception as error:  # what Pillow raises on a broken file depends on where it is broken
        raise InputError(f"{path}: not a whole image: {error}; repair or remove it") from error
    return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1)
