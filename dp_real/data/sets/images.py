"""Sets of real images in folders DIR/CLASS/IMAGE.jpg, archives or tables, decoded on first use.

An unreadable file is an error: accuracies without it could not be compared. `datasets` (imagefolder) passes over files
silently, and knows no WordNet ids.
"""

import hashlib
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError, MissingError, warn_once
from dp_base.progress import progress
from dp_base.reading import cause_of, foreign_file
from dp_real.data.examples import ExampleArray, ExampleSet
from dp_real.data.sets import table_sets, tars
from dp_real.data.sets.class_names import ENDINGS, Classes, class_files, read_regular
from dp_real.data.sets.places import Located
from dp_real.runtime import distributed
from dp_real.runtime.cache import fingerprints
from dp_real.runtime.pixels import to_bytes, to_float

# Bytes, one per pixel and channel: enough for 57,000 images of 224 x 224. Larger sets stay on disk.
IN_MEMORY_MAX_SIZE = 8 * 2**30
MAX_NAMED = 20  # broken images that a message names at most
NEARLY_ONE = 16  # of 256 values: an image whose pixels differ by less counts as flat
SAMPLED = 1000  # images of a set on disk that are decoded before a run starts, for checks and its fingerprint
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only formats that Pillow may open, whatever a file's name. For others, such as EPS, it would start programs."""


EncodedImage = Path | tars.ShardFile | table_sets.TableImage
"""An image file's place; its str() names it in messages."""


def read_image(source: EncodedImage, size: int, channels: int, resize: int = 0) -> Tensor:
    """An image as uint8 [channels, size, size], upright by EXIF, transparent pixels over white.

    The shorter side becomes `resize` pixels (0: `size`), and the middle is cropped. MissingError if the file is
    missing.
    """
    try:
        with Image.open(BytesIO(read_regular(source)), formats=FORMATS) as file:
            file.load()  # first, because reading the metadata would load it, too, and hide a broken file
            with suppress(Exception):  # by then it is upright; only another entry of its EXIF block is broken
                ImageOps.exif_transpose(file, in_place=True)
            image: Image.Image = file
            if file.mode.startswith("I;16"):  # convert() would clip 16 bits
                image = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))
            elif file.mode in ("I", "F"):
                raise ValueError("its pixels are numbers of 32 bits; save it with 8 or 16")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB" if channels == 3 else "L")
            # Cropping first resizes fewer pixels. `bleed` is the share that is cut off at each of the four sides.
            bleed = (1 - size / (resize or size)) / 2
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=bleed)
    except FileNotFoundError as error:
        raise MissingError(f"{source}: it or its link's target is missing; put it back there") from error
    except Exception as error:  # the type depends on where the file is broken
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else cause_of(error)
        wrong = "cannot be read" if getattr(error, "errno", None) else "not a whole image"
        raise InputError(f"{source}: {wrong}: {reason}; repair or remove it") from error
    pixels = np.array(image).reshape(size, size, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


class ImageFiles:
    """Encoded images as rows uint8 [n, *sample_shape], decoded on first use, and kept if all fit into memory."""

    def __init__(
        self, sources: Sequence[EncodedImage], sample_shape: tuple[int, ...], keep: bool = True, resize: int = 0
    ) -> None:
        """`sample_shape` is [C, S, S] with C = 1 or 3."""
        self.sources = sources
        self.resize = resize
        self.shape = (len(sources), *sample_shape)
        self.in_memory = keep and math.prod(self.shape) <= IN_MEMORY_MAX_SIZE
        # It takes memory only when it is written.
        self._pixels = torch.empty(self.shape if self.in_memory else 0, dtype=torch.uint8)
        self._decoded: set[int] = set()

    def __getitem__(self, rows: slice) -> Tensor:
        numbers = range(*rows.indices(len(self.sources)))
        if not self.in_memory:
            return self._read(numbers)
        new = [row for row in numbers if row not in self._decoded]
        self._pixels[new] = self._read(new)
        self._decoded.update(new)
        return self._pixels[rows]

    def select_rows(self, rows: Sequence[int]) -> "ImageFiles":
        return ImageFiles([self.sources[row] for row in rows], self.shape[1:], self.in_memory, self.resize)

    def sizes(self) -> list[int | None]:
        """Bytes of each image; None: unknown."""
        sizes = []
        for source in self.sources:
            with foreign_file(source):
                sizes.append(source.stat().st_size if isinstance(source, Path) else source.size)
        return sizes

    def _read(self, rows: Sequence[int]) -> Tensor:
        if not rows:
            return torch.empty(0, *self.shape[1:], dtype=torch.uint8)
        _, channels, size, _ = self.shape
        with warnings.catch_warnings(), ThreadPoolExecutor(distributed.own_cores()) as threads:
            # Pillow warns of broken metadata, but does not name the file.
            warnings.filterwarnings("ignore", module="PIL")
            images = threads.map(lambda row: read_image(self.sources[row], size, channels, self.resize), rows)
            return torch.stack(list(images))


class ImageSet(NamedTuple):
    """An ExampleSet of image files, y int64 [n]."""

    x: ImageFiles
    y: Tensor


@dataclass(frozen=True)
class TrainingImages:
    """TrainingExamples of image files, decoded together as float32 on first use.

    They are not cropped on the shorter side; `seen` has them as validation does, so that the two can be compared.
    """

    seen: ImageSet

    @property
    def y(self) -> Tensor:
        return self.seen.y

    @cached_property
    def x(self) -> Tensor:
        """Raises InputError for a broken image."""
        files = self.seen.x
        return to_float(ImageFiles(files.sources, files.shape[1:], keep=False)[:])

    def fingerprint(self) -> list[str]:
        """Hashes of the files' bytes; nothing is decoded."""
        files = self.seen.x
        with ThreadPoolExecutor(distributed.own_cores()) as threads:
            digests = list(threads.map(_digest, files.sources))
        _tell_two_labels(list(zip(digests, files.sources, self.y.tolist(), strict=True)))
        return [json_digest([files.shape, *digests]), *fingerprints(self.y)]


def read_set(
    located: Located,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool,
    resize: int = 0,
) -> ImageSet:
    """Images as rows of sample_shape [C, S, S], class folders sorted by label and path, others unsorted."""
    if located.kind in ("csv", "jsonl"):
        raise InputError(f"{located.where}: there are no images in it; texts are for data.source = 'text'")
    with foreign_file(located.where):
        if located.kind == "folders":
            in_folders = class_files(located.paths[0], classes, ENDINGS, "images", needed)
            rows = sorted(in_folders, key=lambda row: row[1])
        else:
            named = (
                tars.read_images(located)
                if located.kind in ("flat", "tar")
                else table_sets.read_images(located, classes)
            )
            rows = classes.rows(named, located.where, needed, "images")
    files = ImageFiles([source for source, _ in rows], sample_shape, keep, resize)
    return ImageSet(files, torch.tensor([label for _, label in rows]))


def _digest(source: EncodedImage) -> str:
    with foreign_file(source):
        return hashlib.sha256(read_regular(source)).hexdigest()


class Seen(NamedTuple):
    """The checks of one example."""

    digest: str  # of its pixels, or of its text
    name: str
    label: int
    is_flat: bool


def decode_ahead(sets: Mapping[str, ExampleSet]) -> dict[str, list[tuple[str, str]]]:
    """Decode images before a run, so that a broken one stops it early; warn of flat, twice labelled and shared ones.

    Sets in memory are decoded whole, of others about SAMPLED images. Returns the digest and name of each image or text.
    """
    shares = {
        name: distributed.own_share(_rows_to_check(each.x))
        for name, each in sets.items()
        if len(each.x.shape) == 4 or getattr(each.x, "dtype", None) == torch.int32
    }
    broken = []
    seen = {name: [] for name in shares}
    with progress("checking images", max(1, sum(map(len, shares.values())))) as advance:
        for name, share in shares.items():
            for part in share:
                seen[name] += _look(sets[name], part, broken)
                advance(1)
    seen = {name: distributed.gather(own) for name, own in seen.items()}
    broken = distributed.gather(broken)
    if broken:
        rest = f"; and {len(broken) - MAX_NAMED} more" if len(broken) > MAX_NAMED else ""
        raise InputError("; ".join(broken[:MAX_NAMED]) + rest)
    for name, each in seen.items():
        if flat := [one.name for one in each if one.is_flat]:
            warn_once(
                f"{flat[0]}: its pixels have nearly one value, as in {len(flat):,} of {len(each):,} images. "
                "16-bit images that use only 10 or 12 bits look black: scale their values"
            )
        if isinstance(sets[name].x, ImageFiles):
            _tell_two_labels([one[:3] for one in each])
    digests = {name: [one[:2] for one in each] for name, each in seen.items()}
    tell_shared(digests)
    return digests


def _look(examples: ExampleSet, part: slice, broken: list[str]) -> list[Seen]:
    """Check examples; a line on each broken one is added to `broken`."""
    x, y = examples.x, examples.y
    rows = range(*part.indices(len(y)))
    try:
        pixels = x[part]
    except InputError as error:
        if len(rows) > 1:
            return [one for row in rows for one in _look(examples, slice(row, row + 1), broken)]
        broken.append(str(error))
        return []
    names = [str(x.sources[row]) if isinstance(x, ImageFiles) else f"example {row} of {len(y)}" for row in rows]
    checks = fingerprints(*pixels), names, y[part].tolist(), _are_flat(pixels)
    return [Seen(*each) for each in zip(*checks, strict=True)]


def tell_shared(seen: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Warn of examples that are in two sets, given each one's digest and name."""
    for (other, second), (one, first) in combinations(seen.items(), 2):
        known = {digest for digest, _ in first}
        shared = [name for digest, name in second if digest in known]
        if shared:
            warn_once(
                f"{len(shared):,} of {len(second):,} examples of {other} that were checked are in {one}, too, such "
                f"as {shared[0]}: accuracies are too high; dp real init NAME --from PLACE keeps copies in one set"
            )


def _rows_to_check(images: ExampleArray) -> list[slice]:
    in_memory = getattr(images, "in_memory", isinstance(images, Tensor))
    step = 1 if in_memory else max(1, images.shape[0] // SAMPLED)
    sampled = distributed.read_slices(-(-images.shape[0] // step))
    return [slice(step * rows.start, step * rows.stop, step) for rows in sampled]


def _are_flat(pixels: Tensor) -> list[bool]:
    """Whether images, uint8 or float32 [n, C, S, S], have nearly one value per channel. Texts have not."""
    if pixels.dim() != 4:
        return [False] * len(pixels)
    values = to_bytes(pixels) if pixels.is_floating_point() else pixels
    low, high = values.flatten(2).aminmax(dim=2)
    return ((high - low).amax(1) < NEARLY_ONE).tolist()


def _tell_two_labels(named: Sequence[tuple[str, object, int]]) -> None:
    """Warn of images with two labels, given each one's digest, name and label."""
    import pandas as pd

    rows = pd.DataFrame(named, columns=["digest", "name", "label"])
    shared = rows[rows.groupby("digest")["label"].transform("nunique") > 1]
    if len(shared):
        one, other = shared.drop_duplicates(["digest", "label"]).sort_values("digest", kind="stable")["name"][:2]
        warn_once(f"{one} and {other}: one image with two labels; {len(shared):,} of {len(rows):,} images are such")
