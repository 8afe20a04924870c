"""Real images in folders, DIR/CLASS/IMAGE.jpg, read as colour or grey, resized and cropped to a square.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read raises an InputError
that names it, because accuracies on a set that silently lost images could not be compared. Files beside the class
folders, such as a README, and files without the ending of an image are ignored.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.sets.classes import Classes, class_folders
from dp_real.examples import ExampleSet
from dp_real.runtime import processes

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IN_MEMORY = 8 * 2**30  # bytes, at one per pixel and channel: 57,000 images of 224 x 224. Larger sets stay on disk


class EncodedImage(Protocol):
    """A place of an image file's bytes, such as a Path. str() names it."""

    def read_bytes(self) -> bytes:
        """The bytes of the file."""
        ...


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use.

    Decoded rows are kept if all rows fit into IN_MEMORY. Reading a broken image raises InputError.
    """

    def __init__(self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True) -> None:
        """sample_shape: [C, S, S] with C = 1 (grey) or 3. keep: whether decoded rows may be kept."""
        self.sources = sources
        self.shape = (len(sources), *sample_shape)
        self.kept = keep and math.prod(self.shape) <= IN_MEMORY
        self._pixels = torch.empty(self.shape if self.kept else 0, dtype=torch.uint8)  # takes memory only when written
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
    """An ExampleSet of image files. y: int64 [n]."""

    x: ImageFiles
    y: Tensor


def read_folder(
    folder: Path, classes: Classes, sample_shape: tuple[int, ...], needed: Collection[int], keep: bool = True
) -> ImageSet:
    """The images of class folders as rows of sample_shape [C, S, S], ordered by label, then by path.

    keep: see ImageFiles. Raises InputError for a folder of an unknown class or without images, and if a label in
    `needed` has no images.
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
    classes.check(folder, labels, needed)
    return ImageSet(ImageFiles(paths, sample_shape, keep), torch.tensor(labels))


def read_image(source: EncodedImage, size: int, channels: int) -> Tensor:
    """Read an image as uint8 [C, size, size]: the shorter side is resized to `size`, the longer cropped to it.

    EXIF rotation is applied, and transparency is laid over white. Raises InputError for a broken image.
    """
    try:
        content = read_regular(source) if isinstance(source, Path) else source.read_bytes()
        with Image.open(BytesIO(content)) as file:
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


def read_regular(path: Path) -> bytes:
    """The bytes of a file. Raises ValueError, without opening it, for a pipe, a socket or a device: it may never end.

    Raises OSError for a file that is not there, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return path.read_bytes()


def decode_ahead(*sets: ExampleSet) -> None:
    """Decode the image files that are kept in memory, each process its share, so that a broken one stops a run early.

    Raises the InputError of the first broken image, in all processes.
    """

    def complaint(images: ImageFiles, rows: slice) -> InputError | None:
        try:
            images[rows]
        except InputError as error:
            return error

    for images in {id(part.x): part.x for part in sets}.values():
        if isinstance(images, ImageFiles) and images.kept:
            found = processes.distribute(partial(complaint, images), processes.read_slices(len(images)))
            for error in filter(None, found):
                raise error
