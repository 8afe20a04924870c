"""Sets of real images, decoded on first use, in folders DIR/CLASS/IMAGE.jpg or encoded elsewhere.

An unreadable file is an error: accuracies without it could not be compared. `datasets` (imagefolder) passes over files
silently, and knows no WordNet ids.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real import distributed
from dp_real.data.sets.class_names import warn_once
from dp_real.examples import ExampleArray, ExampleSet
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_bytes, to_float

# Bytes, at one per pixel and channel. This is enough for 57,000 images of 224 x 224; larger sets stay on disk.
IN_MEMORY = 8 * 2**30
MOST_NAMED = 20  # broken images that a message names
NEARLY_ONE = 16  # of 256 values: an image whose pixels differ by less is told as one of one value
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, and that its fingerprint is of
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only formats that Pillow may open, whatever a file is called. For others it would start programs (EPS)."""


class EncodedImage(Protocol):
    """Where an image file's bytes are, such as a Path; its str() names it in messages."""

    def read_bytes(self) -> bytes: ...


class NamedImages(NamedTuple):
    """Encoded images, and each one's class name or number."""

    sources: Sequence[EncodedImage]
    names: list[str]


def read_regular(source: EncodedImage) -> bytes:
    """A file's bytes; on disk, only of a regular one."""
    if isinstance(source, Path) and not source.is_file():
        source.stat()  # raises if it is not there
        raise ValueError("it is no regular file")
    return source.read_bytes()


def read_image(source: EncodedImage, size: int, channels: int, resize: int = 0) -> Tensor:
    """An image as uint8 [channels, size, size], upright by EXIF, transparent pixels over white.

    The shorter side becomes `resize` pixels (0: `size`), and the middle is taken.
    """
    try:
        with Image.open(BytesIO(read_regular(source)), formats=FORMATS) as file:
            file.load()  # before the metadata are read, which would load it, too, and hide what is broken
            with suppress(Exception):  # another entry of its EXIF block is broken, and it is upright by then
                ImageOps.exif_transpose(file, in_place=True)
            image = _of_8_bits(file)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
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


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits, which Pillow's convert() would clip."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits; save it with 8 or 16")
    return image


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use, and kept if all fit into IN_MEMORY."""

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """`sample_shape` is [C, S, S] with C = 1 or 3."""
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
                return hashlib.sha256(read_regular(source)).hexdigest()

        with ThreadPoolExecutor(distributed.own_cores()) as threads:
            return list(threads.map(digest_of, self.sources))

    def sizes(self) -> list[int | None]:
        """Bytes; None for an image that a table has."""
        found: list[int | None] = []
        for source in self.sources:
            with foreign_file(source):
                found.append(source.stat().st_size if isinstance(source, Path) else getattr(source, "size", None))
        return found

    def broken(self, rows: Sequence[int]) -> list[str]:
        problems = []
        for row in rows:
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


@dataclass(frozen=True)
class TrainingImages:
    """TrainingExamples of image files, decoded together on first use."""

    files: ImageFiles
    y: Tensor

    @cached_property
    def x(self) -> Tensor:
        """Raises InputError for a broken image."""
        pixels = self.files[:]
        _tell_flat(_are_flat(pixels), self.files.sources)
        return to_float(pixels)

    def fingerprint(self) -> list[str]:
        """Of the files' bytes; nothing is decoded."""
        digests = self.files.digests()
        _tell_two_labels(digests, self.y, self.files.sources)
        return [json_digest([self.files.shape, *digests]), *fingerprints(self.y)]


class Seen(NamedTuple):
    """What was seen of an image; of a broken one, its fault alone."""

    fault: str
    row: int = -1
    is_flat: bool = False
    digest: str = ""  # of its pixels


def decode_ahead(*sets: ExampleSet, progress: Progress = silent) -> None:
    """Decode images before a run, so that a broken one stops it early, and warn of flat ones and of two labels.

    Sets kept in memory are decoded whole, of others about SAMPLED images.
    """
    different = [*{id(each.x): each for each in sets if len(each.x.shape) == 4}.values()]
    parts = [_rows_to_check(each.x) for each in different]
    with progress("checking images", max(1, sum(len(distributed.own_share(each)) for each in parts))) as advance:
        seen = [_look(each.x, asked, advance) for each, asked in zip(different, parts, strict=True)]
    broken = [one.fault for found in seen for one in found if one.fault]
    if broken:
        rest = f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        raise InputError("; ".join(broken[:MOST_NAMED]) + rest)
    for each, found in zip(different, seen, strict=True):
        rows = [one.row for one in found]
        files = each.x.sources if isinstance(each.x, ImageFiles) else None
        names = [files[row] if files else f"image {row} of {len(each.y)}" for row in rows]
        _tell_flat([one.is_flat for one in found], names)
        if files:
            _tell_two_labels([one.digest for one in found], each.y[rows], names)


def _look(images: ExampleArray, parts: Sequence[slice], advance: Callable[[int], None]) -> list[Seen]:
    def look(asked: slice) -> list[Seen]:
        rows = range(*asked.indices(images.shape[0]))
        try:
            pixels = images[asked]
        except InputError:
            if not isinstance(images, ImageFiles):
                raise
            return [Seen(fault) for fault in images.broken(rows)]
        finally:
            advance(1)
        facts = zip(rows, _are_flat(pixels), fingerprints(*pixels), strict=True)
        return [Seen("", *each) for each in facts]

    return [one for found in distributed.distribute(look, parts) for one in found]


def _rows_to_check(images: ExampleArray) -> list[slice]:
    is_kept = images.kept if isinstance(images, ImageFiles) else isinstance(images, Tensor)
    step = 1 if is_kept else max(1, images.shape[0] // SAMPLED)
    sampled = distributed.read_slices(-(-images.shape[0] // step))
    return [slice(step * rows.start, step * rows.stop, step) for rows in sampled]


def _are_flat(pixels: Tensor) -> list[bool]:
    """Of uint8 or float32 [n, C, S, S]: nearly one value in each channel."""
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


def _tell_two_labels(keys: Sequence[str], labels: Tensor, names: Sequence[object]) -> None:
    import pandas as pd

    rows = pd.DataFrame({"key": keys, "label": labels})
    shared = rows[rows.groupby("key")["label"].transform("nunique") > 1]
    if len(shared):
        first = shared[shared["key"] == shared["key"].iloc[0]].drop_duplicates("label").index[:2]
        one, other = (names[row] for row in first)
        warn_once(f"{one} and {other}: one image with two labels; of such are {len(shared):,} of {len(rows):,} images")
