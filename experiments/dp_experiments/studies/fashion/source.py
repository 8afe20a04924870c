"""Fashion-MNIST from its four IDX files as Debian or its authors ship them."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, RealData, SetStatus, Task
from dp_real.runtime.section import Seed

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
VALIDATION = 2000  # of the published training images


@DATA.named("fashion", place=2)
class FashionConfig(DataConfig):
    """Fashion-MNIST, from its four IDX files."""

    source: Literal["fashion"]
    folder: str = Field(
        default="/usr/share/datasets/fashion-mnist",
        description="holds train-images-idx3-ubyte and the other three, .gz or not; the default is Debian's",
    )
    split: Seed = Field(default=0, description="which random split into generator and validation images")

    @property
    def task(self) -> Task:
        """The images are padded from 28 to 32 pixels a side, which halves evenly."""
        return Task((1, 32, 32), CLASSES)

    def load(self) -> RealData:
        """Of the 60,000 published training images, shuffled by `split`, 2,000 validate; the 10,000 test images test."""
        import torch

        from dp_real.runtime.seeds import Stream, rng

        x, y = self._read("train")
        order = rng(self.split, Stream.SPLIT).permutation(len(y))
        validation, train = torch.from_numpy(order).split([VALIDATION, len(y) - VALIDATION])
        return RealData(
            self.task,
            train=Examples(x[train], y[train]),
            validation=Examples(x[validation], y[validation]),
            test=Examples(*self._read("t10k")),
        )

    def describe(self) -> list[SetStatus]:
        """The four files together are one set."""
        missing = [path for part in ("train", "t10k") for path in self._paths(part) if not _files_of(path)]
        return [SetStatus("fashion", self.folder, _remedy(missing[0]) if missing else None, 70_000)]

    def _paths(self, part: str) -> tuple[Path, Path]:
        return Path(self.folder, f"{part}-images-idx3-ubyte"), Path(self.folder, f"{part}-labels-idx1-ubyte")

    def _read(self, part: str) -> "tuple[Tensor, Tensor]":
        """Images float32 [n, 1, 32, 32] and labels int64 [n]."""
        import torch

        images, labels = map(read_idx, self._paths(part))
        if images.shape != (len(labels), 28, 28):
            raise InputError(
                f"{self.folder}: {part} has images of shape {images.shape} and {len(labels)} labels; "
                f"expected 28 x 28, one each"
            )
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        return torch.from_numpy(padded).unsqueeze(1) / 127.5 - 1, torch.from_numpy(labels.astype(np.int64))


def _files_of(path: Path) -> list[Path]:
    return [file for file in (path, path.with_name(f"{path.name}.gz")) if file.exists()]


def _remedy(path: Path) -> str:
    return (
        f"{path}[.gz] is not there: install Debian's package dataset-fashion-mnist, or put the four files of "
        f"Fashion-MNIST (github.com/zalandoresearch/fashion-mnist) into a folder and name it as data.folder"
    )


def read_idx(path: Path) -> np.ndarray:
    """A uint8 array from 0, 0, 8, the number of axes, their sizes as big-endian 32-bit integers, and bytes; perhaps
    gzipped.
    """
    if not _files_of(path):
        raise MissingError(_remedy(path))
    file = _files_of(path)[0]
    with foreign_file(file, "not a whole IDX file of unsigned bytes"):
        raw = file.read_bytes() if file == path else gzip.decompress(file.read_bytes())
        if raw[:3] != b"\0\0\x08":
            raise ValueError("it begins otherwise")
        sizes = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes.tolist())
