"""Sets of real images, decoded on first use. They lie in folders, DIR/CLASS/IMAGE.jpg, or are encoded elsewhere.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read raises an InputError
that names it: accuracies on a set that silently lost images could not be compared. Files beside the class folders, such
as a README, and hidden files are ignored. Files that do not end as images do are counted in a warning.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Collection, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_base.reading import foreign_file
from dp_real import distributed
from dp_real.data.sets.class_names import Classes, class_folders, visible_files, warn_once, warn_unread
from dp_real.data.sets.decode import read_image
from dp_real.data.sets.encoded import ENDINGS, EncodedImage, read_encoded
from dp_real.examples import ExampleArray, ExampleSet
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_bytes, to_float

# Bytes, at one per pixel and channel. This is enough for 57,000 images of 224 x 224; larger sets stay on disk.
IN_MEMORY = 8 * 2**30
MOST_NAMED = 20  # broken images that a message names
NEARLY_ONE = 16  # of 256 values: an image whose pixels differ by less is told as one of one value
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, and that its fingerprint is of


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use.

    Decoded rows are kept if all rows fit into IN_MEMORY. Reading a broken image raises InputError.
    """

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """Nothing is read yet. `sample_shape` is [C, S, S] with C = 1 (grey) or 3.

        `keep` says whether decoded rows may be kept. `resize` is that of `read_image`.
        """
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
        """Return SHA-256 digests of the encoded images. Raises InputError for a file that cannot be read."""

        def digest_of(source: EncodedImage) -> str:
            try:
                return hashlib.sha256(read_encoded(source)).hexdigest()
            except (OSError, ValueError) as error:
                raise InputError(f"{source}: cannot be read: {error}") from error

        with ThreadPoolExecutor(distributed.own_cores()) as threads:
            return list(threads.map(digest_of, self.sources))

    def sizes(self) -> list[int | None]:
        """Return bytes, or None for an image that a table has. Raises as `files` does."""
        return [getattr(each, "st_size", getattr(each, "size", None)) for each in self._stats()]

    def files(self) -> list[Hashable]:
        """Return what is equal of two images exactly if they lie in one place, be it by links.

        Raises InputError for a file that is not there.
        """
        return [(each.st_dev, each.st_ino) if isinstance(each, os.stat_result) else each for each in self._stats()]

    def _stats(self) -> Iterator[os.stat_result | EncodedImage]:
        for source in self.sources:
            with foreign_file(source):
                yield source.stat() if isinstance(source, Path) else source

    def broken(self, rows: slice) -> list[str]:
        """Return a line for each of these images that cannot be read, which says what is wrong."""
        problems = []
        for row in range(*rows.indices(len(self))):
            try:
                self._read([row])
            except InputError as error:
                problems.append(str(error))
        return problems

    def _read(self, rows: Sequence[int]) -> Tensor:
        """Decode by several threads, uint8 [len(rows), C, S, S]."""
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
    """An ExampleSet of image files. The labels y are int64 [n]."""

    x: ImageFiles
    y: Tensor


class TrainingImages:
    """TrainingExamples of image files, decoded together on first use. Their fingerprint is of the files' bytes."""

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
        """Nothing is decoded. Raises InputError for a file that cannot be read."""
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
    """Find the images of class folders, as rows of sample_shape [C, S, S], ordered by label, then by path.

    A folder that is named like no class is skipped with a warning. Raises InputError if a label in `needed` has no
    images, or none has, since such a folder may be that of a misspelled class. A class folder without images raises it,
    too.
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
            if file.suffix.lower() in ENDINGS:
                images.append(file)
            else:
                others.append(file)
        if not images:
            raise InputError(f"{path}: there are no images in it ({', '.join(sorted(ENDINGS))})")
        files.setdefault(label, []).extend(images)
    if strays and (not files or set(needed) - set(files)):
        raise strays[0]
    for stray in strays:
        warn_once(f"{stray}; it is skipped")
    warn_unread(folder, others, "images")
    labels = [label for label in sorted(files) for _ in files[label]]
    paths = [path for label in sorted(files) for path in files[label]]
    classes.check(folder, labels, needed)
    return ImageSet(ImageFiles(paths, sample_shape, keep, resize), torch.tensor(labels))


class Seen(NamedTuple):
    """What was seen of images that were decoded ahead: either the broken ones, or two values for each image."""

    broken: list[str]
    flat: list[bool]
    pixels: list[str]  # their digests


def decode_ahead(*sets: ExampleSet, progress: Progress = silent) -> None:
    """Decode images before a run, so that a broken one stops it early. Each process decodes its share.

    Sets that are kept in memory are decoded whole, of a larger one about SAMPLED images, evenly spaced. Raises an
    InputError that names the broken images, in all processes. Warns of images of one value, and of image files with two
    labels.
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
    """Return whether each image, uint8 or float32 [n, C, S, S], has nearly one value in each of its channels."""
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
    """Warn of images that have a key in common and different labels."""
    rows: dict[Hashable, dict[int, list[int]]] = {}
    for row, (key, label) in enumerate(zip(keys, labels.tolist(), strict=True)):
        rows.setdefault(key, {}).setdefault(label, []).append(row)
    shared = [list(by_label.values()) for by_label in rows.values() if len(by_label) > 1]
    if shared:
        count = sum(len(own) for by_label in shared for own in by_label)
        first, second = (sources[own[0]] for own in shared[0][:2])
        warn_once(f"{first} and {second}: one image with two labels; of such are {count:,} of {len(keys):,} images")
