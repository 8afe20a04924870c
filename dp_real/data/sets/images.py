"""Real images in folders, DIR/CLASS/IMAGE.jpg, read as colour or grey, resized and cropped to a square.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read raises an InputError
that names it, because accuracies on a set that silently lost images could not be compared. Files beside the class
folders, such as a README, and hidden ones are ignored; files without the ending of an image are counted in a warning.
"""

from __future__ import annotations

import hashlib
import math
import stat
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_real.data.sets.class_names import Classes, class_folders, visible_files, warn_once, warn_unread
from dp_real.examples import ExampleSet
from dp_real.runtime import processes
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_float

ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IN_MEMORY = 8 * 2**30  # bytes, at one per pixel and channel: 57,000 images of 224 x 224. Larger sets stay on disk


NAMED = 20  # broken images, at most
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, and that its fingerprint is of
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class EncodedImage(Protocol):
    """A place of an image file's bytes, such as a Path. str() names it."""

    def read_bytes(self) -> bytes:
        """The bytes of the file."""
        ...


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use.

    Decoded rows are kept if all rows fit into IN_MEMORY. Reading a broken image raises InputError.
    """

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """sample_shape: [C, S, S], C = 1 (grey) or 3. keep: decoded rows may be kept. resize: see `read_image`."""
        self.sources = sources
        self.resize = resize
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

    def digest(self) -> str:
        """The SHA-256 of the encoded images and the shape they are decoded to. Raises InputError as reading does."""

        def one(source: EncodedImage) -> str:
            try:
                return hashlib.sha256(content(source)).hexdigest()
            except (OSError, ValueError) as error:
                raise InputError(f"{source}: cannot be read: {error}") from error

        with ThreadPoolExecutor(processes.own_cores()) as threads:
            return json_digest([self.shape, *threads.map(one, self.sources)])

    def broken(self, rows: slice) -> list[str]:
        """What is wrong, a line for each of these images that cannot be read."""

        def problem(row: int) -> str:
            try:
                self._read([row])
            except InputError as error:
                return str(error)
            return ""

        return [line for line in map(problem, range(*rows.indices(len(self)))) if line]

    def _read(self, rows: Sequence[int]) -> Tensor:
        _, channels, size, _ = self.shape
        with warnings.catch_warnings(), ThreadPoolExecutor(processes.own_cores()) as threads:
            warnings.filterwarnings("ignore", module="PIL")  # of broken metadata, without the name of their file
            images = threads.map(lambda row: read_image(self.sources[row], size, channels, self.resize), rows)
            return torch.stack(list(images)) if rows else torch.empty(0, *self.shape[1:], dtype=torch.uint8)


@dataclass(frozen=True)
class ImageSet:
    """An ExampleSet of image files. y: int64 [n]."""

    x: ImageFiles
    y: Tensor


class TrainingImages:
    """TrainingExamples of image files: decoded on first use, all together, and known by the bytes of their files."""

    def __init__(self, images: ImageSet) -> None:
        self.files, self.y = images.x, images.y
        self._x: Tensor | None = None

    @property
    def x(self) -> Tensor:
        """See TrainingExamples. Raises InputError for a broken image."""
        if self._x is None:
            self._x = to_float(self.files[:])
        return self._x

    def fingerprint(self) -> list[str]:
        """See TrainingExamples. Decodes nothing. Raises InputError for a file that cannot be read."""
        return [self.files.digest(), *fingerprints(self.y)]


def read_folder(
    folder: Path,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool = True,
    resize: int = 0,
) -> ImageSet:
    """The images of class folders as rows of sample_shape [C, S, S], ordered by label, then by path.

    A folder that is named like no class is skipped, and named in a warning. keep, resize: see ImageFiles. Raises
    InputError for such a folder if a label in `needed`, or every one, has no images, and for a folder without images.
    """
    files: dict[int, list[Path]] = {}
    strays: list[InputError] = []
    others: list[Path] = []
    for path in class_folders(folder):
        try:
            label = classes.label(path.name, path)
        except InputError as stray:
            strays.append(stray)
            continue
        if label is None:
            continue
        images: list[Path] = []
        for file in sorted(visible_files(path)):
            (images if file.suffix.lower() in ENDINGS else others).append(file)
        if not images:
            raise InputError(f"{path}: there are no images in it ({', '.join(sorted(ENDINGS))})")
        files.setdefault(label, []).extend(images)
    if strays and (not files or set(needed) - set(files)):
        raise strays[0]  # perhaps one of the missing ones, misspelled
    for stray in strays:
        warn_once(f"{stray}; it is skipped")
    warn_unread(folder, others, "images")
    labels = [label for label in sorted(files) for _ in files[label]]
    paths = [path for label in sorted(files) for path in files[label]]
    classes.check(folder, labels, needed)
    return ImageSet(ImageFiles(paths, sample_shape, keep, resize), torch.tensor(labels))


def read_image(source: EncodedImage, size: int, channels: int, resize: int = 0) -> Tensor:
    """Read an image as uint8 [C, size, size]: its shorter side is resized to `resize`, and `size` of its middle taken.

    resize: at least `size`, as in ImageNet's usual 256 for 224; 0: `size`, so that only the longer side is cropped.
    EXIF orientation is applied, and transparency is laid over white. Raises InputError for a broken image.
    """
    try:
        with Image.open(BytesIO(content(source))) as file:
            image = _upright(file)
            if image.mode.startswith("I;16"):  # convert() would clip 16 bits instead of scaling them
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):  # convert() would clip these, too; what is white in them nobody says
                raise ValueError("its pixels are numbers of 32 bits; save it with 8 or 16")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB" if channels == 3 else "L")
            edge = (1 - size / (resize or size)) / 2  # of either side: cropping first resizes fewer pixels
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=edge)
    except Exception as error:  # what Pillow raises on a broken file depends on where it is broken
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{source}: not a whole image: {reason}; repair or remove it") from error
    return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1)


def content(source: EncodedImage) -> bytes:
    """The bytes of an image's file. Raises as read_regular does."""
    return read_regular(source) if isinstance(source, Path) else source.read_bytes()


def read_regular(path: Path) -> bytes:
    """The bytes of a file. Raises ValueError, without opening it, for a pipe, a socket or a device: it may never end.

    Raises OSError for a file that is not there, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return path.read_bytes()


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, if that can be read. Nothing else of EXIF matters."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # what Pillow raises on a broken block depends on where it is broken
        orientation = None
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def decode_ahead(*sets: ExampleSet, progress: Progress = silent) -> None:
    """Decode image files, each process its share, so that a broken one stops a run early.

    Those that are kept in memory are all decoded; of a larger set, about SAMPLED, evenly spaced. Raises an InputError
    that names the broken images, in all processes.
    """
    files = [part.x for part in sets if isinstance(part.x, ImageFiles)]
    parts = [(images, rows) for images in {id(each): each for each in files}.values() for rows in _checked(images)]
    with progress("checking images", max(1, len(processes.own_share(parts)))) as advance:

        def complaints(part: tuple[ImageFiles, slice]) -> list[str]:
            images, rows = part
            try:
                images[rows]
            except InputError:
                return images.broken(rows)
            finally:
                advance(1)
            return []

        broken = [line for lines in processes.distribute(complaints, parts) for line in lines]
    if broken:
        rest = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise InputError("; ".join(broken[:NAMED]) + rest)


def _checked(images: ImageFiles) -> list[slice]:
    """The rows of a set that are decoded ahead."""
    step = 1 if images.kept else max(1, len(images) // SAMPLED)
    sampled = processes.read_slices(-(-len(images) // step))
    return [slice(step * rows.start, step * rows.stop, step) for rows in sampled]
