"""Small images that are told apart by their colour, and tar files of them."""

import io
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

from dp_real.data.sets.images import ImageSet


def encoded(picture: Image.Image, form: str = "png", **options: Any) -> bytes:
    with io.BytesIO() as file:
        picture.save(file, form, **options)
        return file.getvalue()


def plain(value: int) -> bytes:
    """Return an encoded image of 8 x 8 pixels that is known by its colour."""
    return encoded(Image.new("RGB", (8, 8), (value, 0, 0)))


def values(images: ImageSet) -> list[int]:
    return images.x[:][:, 0, 0, 0].tolist()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
