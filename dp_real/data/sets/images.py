"""Sets of real images, decoded on first use. They lie in folders, DIR/CLASS/IMAGE.jpg, or are encoded elsewhere.

CLASS is the class's name, its number, or for ImageNet its WordNet id. A file that cannot be read raises an InputError
that names it: accuracies on a set that silently lost images could not be compared. Files beside the class folders, such
as a README, and hidden files are ignored. Files that do not end as images do are counted in a warning.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError
from dp_base.progress import Progress, silent
from dp_real.data.sets.class_names import Classes, class_folders, visible_files, warn_once, warn_unread
from dp_real.data.sets.decode import read_image
from dp_real.data.sets.encoded import ENDINGS, EncodedImage, read_encoded
from dp_real.examples import ExampleSet
from dp_real.runtime import processes
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_float

# Bytes, at one per pixel and channel. This is enough for 57,000 images of 224 x 224; larger sets stay on disk.
IN_MEMORY = 8 * 2**30
MOST_NAMED = 20  # broken images that a message names
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, and that its fingerprint is of


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use.

    Decoded rows are kept if all rows fit into IN_MEMORY. Reading a broken image raises InputError.
    """

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """Take the encoded images, without reading them.

        `sample_shape` is [C, S, S] with C = 1 (grey) or 3. `keep` says whether decoded rows may be kept. `resize` is
        that of `read_image`.
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

    def digest(self) -> str:
        """Return the SHA-256 of the encoded images and of the shape that they are decoded to.

        Raises InputError for a file that cannot be read.
        """

        def digest_of(source: EncodedImage) -> str:
            try:
                return hashlib.sha256(read_encoded(source)).hexdigest()
            except (OSError, ValueError) as error:
                raise InputError(f"{source}: cannot be read: {error}") from error

        with ThreadPoolExecutor(processes.own_cores()) as threads:
            return json_digest([self.shape, *threads.map(digest_of, self.sources)])

    def broken(self, rows: slice) -> list[str]:
        """Return a line for each of these images that cannot be read. It says what is wrong."""
        problems = []
        for row in range(*rows.indices(len(self))):
            try:
                self._read([row])
            except InputError as error:
                problems.append(str(error))
        return problems

    def _read(self, rows: Sequence[int]) -> Tensor:
        """Decode some rows by several threads, uint8 [len(rows), C, S, S]."""
        if not rows:
            return torch.empty(0, *self.shape[1:], dtype=torch.uint8)
        _, channels, size, _ = self.shape
        with warnings.catch_warnings(), ThreadPoolExecutor(processes.own_cores()) as threads:
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
        """See TrainingExamples. Raises InputError for a broken image."""
        if self._x is None:
            self._x = to_float(self.files[:])
        return self._x

    def fingerprint(self) -> list[str]:
        """See TrainingExamples. Nothing is decoded. Raises InputError for a file that cannot be read."""
        return [self.files.digest(), *fingerprints(self.y)]


def read_folder(
    folder: Path,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool = True,
    resize: int = 0,
) -> ImageSet:
    """Find the images of class folders, as rows of sample_shape [C, S, S]. They are ordered by label, then by path.

    `keep` and `resize` are those of ImageFiles. A folder that is named like no class is skipped with a warning.
    However, it raises InputError if a label in `needed` has no images, or none has, since the folder may be that of a
    misspelled class. A class folder without images raises InputError, too.
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


def decode_ahead(*sets: ExampleSet, progress: Progress = silent) -> None:
    """Decode image files before a run, so that a broken one stops it early. Each process decodes its share.

    Sets that are kept in memory are decoded whole. Of a larger set, about SAMPLED images are decoded, evenly spaced.
    Raises an InputError that names the broken images, in all processes.
    """
    files = [each.x for each in sets if isinstance(each.x, ImageFiles)]
    different = {id(images): images for images in files}.values()
    parts = [(images, rows) for images in different for rows in _rows_to_check(images)]
    with progress("checking images", max(1, len(processes.own_share(parts)))) as advance:

        def problems(part: tuple[ImageFiles, slice]) -> list[str]:
            images, rows = part
            try:
                images[rows]
            except InputError:
                return images.broken(rows)
            finally:
                advance(1)
            return []

        broken = [line for lines in processes.distribute(problems, parts) for line in lines]
    if broken:
        rest = f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        raise InputError("; ".join(broken[:MOST_NAMED]) + rest)


def _rows_to_check(images: ImageFiles) -> list[slice]:
    """Return the rows of a set that are decoded ahead."""
    step = 1 if images.kept else max(1, len(images) // SAMPLED)
    sampled = processes.read_slices(-(-len(images) // step))
    return [slice(step * rows.start, step * rows.stop, step) for rows in sampled]
