"""Encoded images: files whose bytes are read on demand, wherever they lie, and the class names that come with them."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from dp_real.data.sets.class_names import Classes

ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class EncodedImage(Protocol):
    """A place from which an image file's bytes can be read, such as a Path. Its str() names it in messages."""

    def read_bytes(self) -> bytes: ...


class NamedImages(NamedTuple):
    """Encoded images in order, and the class name or number of each."""

    sources: Sequence[EncodedImage]
    names: list[str]


def read_encoded(source: EncodedImage) -> bytes:
    """Read the bytes of an encoded image. Of files on disk, only regular ones are read."""
    return read_regular(source) if isinstance(source, Path) else source.read_bytes()


def read_regular(path: Path) -> bytes:
    """Read the bytes of a regular file. Raises OSError for one that is not there, or cannot be read.

    Raises ValueError for a pipe, a socket or a device without opening it, since reading it might never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return path.read_bytes()


def to_labels(named: NamedImages, classes: Classes) -> list[int | None]:
    """Return the label of each image, or None for an image of a class that the task leaves out.

    A number means what it means as the name of a class folder. But if the task is a part of ImageNet, and all names are
    numbers below its number of classes, they are the task's own labels. Raises InputError for an unknown class.
    """
    first_images: dict[str, EncodedImage] = {}
    for name, source in zip(named.names, named.sources, strict=True):
        first_images.setdefault(name, source)
    is_part_of_imagenet = None in classes.folders.values()
    if is_part_of_imagenet and all(name.isdecimal() and int(name) < len(classes.names) for name in first_images):
        return [int(name) for name in named.names]
    labels = {name: classes.label(name, source) for name, source in first_images.items()}
    return [labels[name] for name in named.names]
