"""Sets of real images, decoded on first use, in folders DIR/CLASS/IMAGE.jpg or encoded elsewhere.

An unreadable file is an error: accuracies on a set that lost images could not be compared. `datasets` (imagefolder)
passes over files silently, and knows no WordNet ids.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import warnings
from collections.abc import Collection, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real import distributed
from dp_real.data.sets.class_names import Classes, class_files, warn_once
from dp_real.examples import ExampleArray, ExampleSet
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_bytes, to_float

# Bytes, at one per pixel and channel. This is enough for 57,000 images of 224 x 224; larger sets stay on disk.
IN_MEMORY = 8 * 2**30
MOST_NAMED = 20  # broken images that a message names
NEARLY_ONE = 16  # of 256 values: an image whose pixels differ by less is told as one of one value
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, and that its fingerprint is of
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only formats that Pillow may open, whatever a file is called. For others it would start programs (EPS)."""


class EncodedImage(Protocol):
    """Where an image file's bytes are, such as a Path; its str() names it in messages."""

    def read_bytes(self) -> bytes: ...


class NamedImages(NamedTuple):
    """Encoded images, and each one's class name or number."""

    sources: Sequence[EncodedImage]
    names: list[str]


def read_encoded(source: EncodedImage) -> bytes:
    """The bytes of an image; of files on disk, only regular ones are read."""
    return read_regular(source) if isinstance(source, Path) else source.read_bytes()


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return path.read_bytes()


def read_image(source: EncodedImage, size: int, channels: int, resize: int = 0) -> Tensor:
    """An image as uint8 [channels, size, size], upright by EXIF, transparent pixels over white.

    The shorter side becomes `resize` pixels (0: `size`), and the middle is taken.
    """
    try:
        with Image.open(BytesIO(read_encoded(source)), formats=FORMATS) as file:
            file.load()  # before the metadata are read, which would load it, too, and hide what is broken
            image = _opaque(_of_8_bits(_upright(file)))
            image = image.convert("RGB" if channels == 3 else "L")
            # Cropping first resizes fewer pixels. `bleed` is the share that is cut off at each of the four sides.
            bleed = (1 - size / (resize or size)) / 2
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=bleed)
    except (Image.DecompressionBombError, MemoryError) as error:
        reason = str(error) or "memory ran out"
        raise InputError(f"{source}: too large an image: {reason}; save it with fewer pixels, or remove it") from error
    except Exception as error:  # what Pillow raises on a broken file depends on where it is broken
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{source}: not a whole image: {reason}; repair or remove it") from error
    pixels = np.array(image).reshape(size, size, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """ImageOps.exif_transpose also rewrites the EXIF block, and fails if another entry is broken."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # what Pillow raises on a broken block depends on where it is broken
        return image
    return image.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else image


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits, which Pillow's convert() would clip. A TIFF may use 12 of them."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits; save it with 8 or 16")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use, and kept if all fit into IN_MEMORY."""

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """`sample_shape` is [C, S, S] with C = 1 or 3. `resize` is that of `read_image`."""
        self.sources = sources
        self.resize = resize
        self.shape = (len(sources), *sample_shape)
        self.kept = keep and math.prod(self.shape) <= IN_MEMORY
        self._pixels = torch.empty(self.shape if self.kept else 0, dtype=torch.uint8)  # takes memory only when written
        self._is_decoded = torch.zeros(len(sources), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, rows: slice) -> Tensor:
        if not self.kept:
            return self._read(range(*rows.indices(len(self))))
        asked = torch.arange(len(self))[rows]
        new = asked[~self._is_decoded[rows]]
        if len(new):
            self._pixels[new] = self._read(new.tolist())
            self._is_decoded[new] = True
        return self._pixels[rows]

    def digests(self) -> list[str]:
        """SHA-256 of the encoded images."""

        def digest_of(source: EncodedImage) -> str:
            with foreign_file(source):
                return hashlib.sha256(read_encoded(source)).hexdigest()

        with ThreadPoolExecutor(distributed.own_cores()) as threads:
            return list(threads.map(digest_of, self.sources))

    def sizes(self) -> list[int | None]:
        """Bytes; None for an image that a table has."""
        return [getattr(each, "st_size", getattr(each, "size", None)) for each in self._stats()]

    def files(self) -> list[Hashable]:
        """Equal for two images exactly if they lie in one place, be it by links."""
        return [(each.st_dev, each.st_ino) if isinstance(each, os.stat_result) else each for each in self._stats()]

    def _stats(self) -> Iterator[os.stat_result | EncodedImage]:
        for source in self.sources:
            with foreign_file(source):
                yield source.stat() if isinstance(source, Path) else source

    def broken(self, rows: slice) -> list[str]:
        """A line for each image that cannot be read."""
        problems = []
        for row in range(*rows.indices(len(self))):
            try:
                self._read([row])
            except InputError as error:
                problems.append(str(error))
        return problems

    def _read(self, rows: Sequence[int]) -> Tensor:
        if not rows:
            return torch.empty(0, *self.shape[1:], dtype=torch.uint8)
        _, channels, size, _ = self.shape
        with warnings.catch_warnings(), ThreadPoolExecutor(distributed.own_cores()) as threads:
            # Pillow warns of broken metadata, but does not name the file.
            warnings.filterwarnings("ignore", module="PIL")
            images = threads.map(lambda row: read_image(self.sources[row], size, channels, self.resize), rows)
            return torch.stack(list(images))


@dataclass(frozen=True)
class ImageSet:
    """An ExampleSet of image files, y int64 [n]."""

    x: ImageFiles
    y: Tensor


class TrainingImages:
    """TrainingExamples of image files, decoded together on first use."""

    def __init__(self, images: ImageSet) -> None:
        self.files = images.x
        self.y = images.y
        self._x: Tensor | None = None

    @property
    def x(self) -> Tensor:
        """Raises InputError for a broken image."""
        if self._x is None:
            pixels = self.files[:]
            _tell_flat(_are_flat(pixels), self.files.sources)
            self._x = to_float(pixels)
        return self._x

    def fingerprint(self) -> list[str]:
        """Of the files' bytes; nothing is decoded."""
        digests = self.files.digests()
        _tell_two_labels(digests, self.y, self.files.sources)
        return [json_digest([self.files.shape, *digests]), *fingerprints(self.y)]


def read_folder(
    folder: Path,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool = True,
    resize: int = 0,
) -> ImageSet:
    """Class folders' images by label, then path; folders of no class are told."""
    found = sorted(class_files(folder, classes, ENDINGS, "images", needed).values(), key=lambda each: each[0])
    labels = [label for label, files in found for _ in files]
    classes.check(folder, labels, needed)
    paths = [path for _, files in found for path in files]
    return ImageSet(ImageFiles(paths, sample_shape, keep, resize), torch.tensor(labels))


class Seen(NamedTuple):
    """What was seen of decoded images: the broken ones, or two values for each."""

    broken: list[str]
    flat: list[bool]
    pixels: list[str]  # their digests


def decode_ahead(*sets: ExampleSet, progress: Progress = silent) -> None:
    """Decode images before a run, so that a broken one stops it early, and warn of flat ones and of two labels.

    Sets kept in memory are decoded whole, of others about SAMPLED images.
    """
    different = {id(each.x): each for each in sets if len(each.x.shape) == 4}.values()
    parts = [(each.x, rows) for each in different for rows in _rows_to_check(each.x)]
    with progress("checking images", max(1, len(distributed.own_share(parts)))) as advance:

        def look(part: tuple[ExampleArray, slice]) -> Seen:
            images, rows = part
            try:
                pixels = images[rows]
            except InputError:
                if not isinstance(images, ImageFiles):
                    raise
                return Seen(images.broken(rows), [], [])
            finally:
                advance(1)
            kept = pixels if isinstance(images, ImageFiles) else pixels[:0]
            return Seen([], _are_flat(pixels), fingerprints(*kept))

        seen = distributed.distribute(look, parts)
    broken = [line for each in seen for line in each.broken]
    if broken:
        rest = f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        raise InputError("; ".join(broken[:MOST_NAMED]) + rest)
    for each in different:
        own = [(rows, one) for (images, rows), one in zip(parts, seen, strict=True) if images is each.x]
        rows = [row for rows, _ in own for row in range(*rows.indices(len(each.y)))]
        flat = [is_flat for _, one in own for is_flat in one.flat]
        if not isinstance(each.x, ImageFiles):
            _tell_flat(flat, [f"image {row} of {len(each.y)}" for row in rows])
            continue
        sources = [each.x.sources[row] for row in rows]
        _tell_flat(flat, sources)
        _tell_two_labels([digest for _, one in own for digest in one.pixels], each.y[rows], sources)
        if not each.x.kept:
            _tell_two_labels(each.x.files(), each.y, each.x.sources)


def _rows_to_check(images: ExampleArray) -> list[slice]:
    is_kept = images.kept if isinstance(images, ImageFiles) else isinstance(images, Tensor)
    step = 1 if is_kept else max(1, images.shape[0] // SAMPLED)
    sampled = distributed.read_slices(-(-images.shape[0] // step))
    return [slice(step * rows.start, step * rows.stop, step) for rows in sampled]


def _are_flat(pixels: Tensor) -> list[bool]:
    """Whether each image, uint8 or float32 [n, C, S, S], has nearly one value in each channel."""
    values = to_bytes(pixels) if pixels.is_floating_point() else pixels
    low, high = values.flatten(2).aminmax(dim=2)
    return ((high - low).amax(1) < NEARLY_ONE).tolist()


def _tell_flat(flat: Sequence[bool], names: Sequence[object]) -> None:
    found = [name for is_flat, name in zip(flat, names, strict=True) if is_flat]
    if found:
        warn_once(
            f"{found[0]}: its pixels have nearly one value; so have those of {len(found):,} of {len(flat):,} images. "
            "Those of 16 bits that use 10 or 12 of them read as black: scale their values"
        )


def _tell_two_labels(keys: Sequence[Hashable], labels: Tensor, sources: Sequence[EncodedImage]) -> None:
    """Warn of images with one key and different labels."""
    rows: dict[Hashable, dict[int, list[int]]] = {}
    for row, (key, label) in enumerate(zip(keys, labels.tolist(), strict=True)):
        rows.setdefault(key, {}).setdefault(label, []).append(row)
    shared = [list(by_label.values()) for by_label in rows.values() if len(by_label) > 1]
    if shared:
        count = sum(len(own) for by_label in shared for own in by_label)
        first, second = (sources[own[0]] for own in shared[0][:2])
        warn_once(f"{first} and {second}: one image with two labels; of such are {count:,} of {len(keys):,} images")
