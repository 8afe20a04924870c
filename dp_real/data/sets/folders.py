"""Real images in folders: DIR/CLASS/image.jpg, read as RGB, resized and cropped to a square.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read is an InputError that
names it: a set that silently lost images would have accuracies of its own. Files beside the class folders are no
concern of ours (archives come with a README), nor are those within that are no images by their ending.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_real.config.config import FolderConfig
from dp_real.imagenet.classes import imagenet_classes
from dp_real.runtime import processes

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IN_MEMORY = 8 * 2**30  # bytes, at one a pixel and channel: 57,000 images of 224 x 224. Larger sets stay on disk


@dataclass(frozen=True)
class Classes:
    """Label i is names[i]. `folders`: the label of each folder; None where this task leaves a known class out."""

    names: tuple[str, ...]
    folders: Mapping[str, int | None]

    def label(self, name: str, place: object) -> int | None:
        """The label of what is called so; None if it is left out. Raises InputError, naming the place, for no class."""
        if name not in self.folders:
            near = get_close_matches(name, self.folders, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out, or name its class in data.classes"
            raise InputError(f"{place}: {name} is none of the {len(self.names)} classes; {hint}")
        return self.folders[name]


class Source(Protocol):
    """An encoded image; str() says where it is. A Path is one."""

    def read_bytes(self) -> bytes: ...


class ImageFiles:
    """Rows uint8 [n, *sample_shape] of encoded images, each decoded when it is first asked for.

    It is kept then if there is room for all. Raises InputError when it reads what is no whole image.
    """

    def __init__(self, sources: Sequence[Source], sample_shape: tuple[int, ...], keep: bool = True) -> None:
        """sample_shape: [C, S, S], C = 1 (grey) or 3. keep: whether to keep them at all."""
        self.sources = sources
        self.shape = (len(sources), *sample_shape)
        self.kept = keep and math.prod(self.shape) <= IN_MEMORY
        self._pixels = torch.empty(self.shape if self.kept else 0, dtype=torch.uint8)  # takes memory as it is written
        self._known = torch.zeros(len(sources), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, rows: slice) -> Tensor:
        if not self.kept:
            return self._read(range(*rows.indices(len(self))))
        asked = torch.arange(len(self))[rows]
        new = asked[~self._known[rows]]
        if len(new):
            self._pixels[new] = self._read(new.tolist())
            self._known[new] = True
        return self._pixels[rows]

    def _read(self, rows: Sequence[int]) -> Tensor:
        _, channels, size, _ = self.shape
        with ThreadPoolExecutor(processes.own_cores()) as threads:  # decoding releases the interpreter's lock
            images = threads.map(lambda row: read_image(self.sources[row], size, channels), rows)
            return torch.stack(list(images)) if rows else torch.empty(0, *self.shape[1:], dtype=torch.uint8)


@dataclass(frozen=True)
class ImageSet:
    """As Images, of encoded images. y: int64 [n]."""

    x: ImageFiles
    y: Tensor


def task_classes(config: FolderConfig) -> Classes:
    """The classes of a configuration, and which folder is which; reads no image."""
    match config.classes:
        case None:
            return own_classes([path.name for path in class_folders(Path(config.validation))])
        case "imagenet1k" | "imagenet100" as task:
            chosen = imagenet_classes(task)
            labels = {entry.wnid: label for label, entry in enumerate(chosen)}
            folders = {
                folder_name(name): labels.get(entry.wnid)
                for entry in imagenet_classes("imagenet1k")
                for name in (entry.wnid, str(entry.index), entry.name, *entry.lemmas)
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


def read_folder(
    folder: Path, classes: Classes, sample_shape: tuple[int, ...], needed: Collection[int], keep: bool = True
) -> ImageSet:
    """The images of a folder, ordered by label, then by path, as rows of sample_shape [C, S, S].

    Raises InputError for a folder that is no class's, one without images, and if a label of `needed` has none.
    """
    files: dict[int, list[Path]] = {}
    for path in class_folders(folder):
        label = classes.label(path.name, path)
        if label is None:
            continue
        images = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
        if not images:
            raise InputError(f"{path}: there are no images in it ({', '.join(sorted(ENDINGS))})")
        files.setdefault(label, []).extend(images)
    labels = [label for label in sorted(files) for _ in files[label]]
    paths = [path for label in sorted(files) for path in files[label]]
    check_labels(folder, labels, classes, needed)
    return ImageSet(ImageFiles(paths, sample_shape, keep), torch.tensor(labels))


def check_labels(place: object, labels: Collection[int], classes: Classes, needed: Collection[int]) -> None:
    """Raise InputError if the set at `place` has no image at all, or none of a label of `needed`."""
    missing = [classes.names[label] for label in sorted(set(needed) - set(labels))]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{place}: no images of {', '.join(missing[:3])}{rest}; each class needs some")
    if not labels:
        raise InputError(f"{place}: none of its classes is one of this task's {len(classes.names)}")


def read_image(source: Source, size: int, channels: int) -> Tensor:
    """uint8 [C, S, S]: upright, alpha over white, the shorter side resized to `size` and the longer one cropped to it.

    Raises InputError for a file that is no whole image.
    """
    try:
        with Image.open(BytesIO(source.read_bytes())) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # convert() would clip 16 bits instead of scaling them
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (size, size), Image.Resampling.BICUBIC)
    except Exception as error:  # what Pillow raises on a broken file depends on where it is broken
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{source}: not a whole image: {reason}; repair or remove it") from error
    return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1)
