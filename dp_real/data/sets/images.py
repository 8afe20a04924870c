"""Real images in folders: DIR/CLASS/image.jpg, read as RGB, resized and cropped to a square.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read is an InputError that
names it: a set that silently lost images would have accuracies of its own. Files beside the class folders are no
concern of ours (archives come with a README), nor are those within that are no images by their ending.
"""

from __future__ import annotations

import math
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
IN_MEMORY = 8 * 2**30  # bytes, at one a pixel and channel: 57,000 images of 224 x 224. Larger sets stay on disk


class EncodedImage(Protocol):
    """Where the bytes of an image file are; str() says it. A Path is one."""

    def read_bytes(self) -> bytes:
        """The file."""
        ...


class ImageFiles:
    """Rows uint8 [n, *sample_shape] of encoded images, each decoded when it is first asked for.

    It is kept then if there is room for all. Raises InputError when it reads what is no whole image.
    """

    def __init__(self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True) -> None:
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
    """An ExampleSet of image files. y: int64 [n]."""

    x: ImageFiles
    y: Tensor


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
    classes.check(folder, labels, needed)
    return ImageSet(ImageFiles(paths, sample_shape, keep), torch.tensor(labels))


def read_image(source: EncodedImage, size: int, channels: int) -> Tensor:
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


def decode_ahead(*sets: ExampleSet) -> None:
    """Decode the image files among these that are kept, each process its share.

    A broken one stops a run before it begins: all processes raise the InputError of the first.
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
