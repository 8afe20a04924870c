"""Fashion-MNIST from its four IDX files, as Debian ships them or as its authors do."""

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_real.config.config import FashionConfig
from dp_real.protocols import Images, RealData, SetStatus
from dp_real.runtime.seeds import Stream, rng

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
VALIDATION = 2000


def load_fashion(config: FashionConfig) -> RealData:
    """70,000 grey images, padded from 28 to 32 pixels a side, which halves evenly.

    Of the 60,000 training images, shuffled by `split`, 2,000 validate and the rest is the generator's; the 10,000 test
    images are as published. Raises MissingError where a file is not there.
    """
    x, y = _read(config, "train")
    order = rng(config.split, Stream.SPLIT).permutation(len(y))
    validation, generator = torch.from_numpy(order).split([VALIDATION, len(y) - VALIDATION])
    return RealData(
        generator=Images(x[generator], y[generator]),
        validation=Images(x[validation], y[validation]),
        test=Images(*_read(config, "t10k")),
        classes=CLASSES,
    )


def describe_fashion(config: FashionConfig) -> list[SetStatus]:
    """See dp_real.data.describe_sets: the files count as one set."""
    paths = [path for part in ("train", "t10k") for path in _paths(config, part)]
    absent = [path for path in paths if not (path.exists() or _zipped(path).exists())]
    return [SetStatus("fashion", config.folder, 70_000, None if not absent else _remedy(absent[0]))]


def _paths(config: FashionConfig, part: str) -> tuple[Path, Path]:
    """The images and the labels of a part, train or t10k."""
    return Path(config.folder, f"{part}-images-idx3-ubyte"), Path(config.folder, f"{part}-labels-idx1-ubyte")


def _zipped(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _remedy(path: Path) -> str:
    return (
        f"{path}[.gz] is not there: install Debian's package dataset-fashion-mnist, or put the four files of "
        f"Fashion-MNIST (github.com/zalandoresearch/fashion-mnist) into a folder and name it as data.folder"
    )


def _read(config: FashionConfig, part: str) -> tuple[Tensor, Tensor]:
    images, labels = map(read_idx, _paths(config, part))
    if images.shape != (len(labels), 28, 28):
        raise InputError(
            f"{config.folder}: {part} has images of shape {images.shape} and {len(labels)} labels; "
            f"expected 28 x 28, one each"
        )
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return torch.from_numpy(padded).unsqueeze(1) / 127.5 - 1, torch.from_numpy(labels.astype(np.int64))


def read_idx(path: Path) -> np.ndarray:
    """A file of unsigned bytes in the IDX format: 0, 0, 8, the number of axes; big-endian sizes; the bytes."""
    zipped = _zipped(path)
    try:
        raw = path.read_bytes() if path.exists() else gzip.decompress(zipped.read_bytes())
    except FileNotFoundError as error:
        raise MissingError(_remedy(path)) from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{zipped}: not a whole gzip file: {error}") from error
    axes = raw[3] if len(raw) > 3 else 0
    sizes = np.frombuffer(raw, ">i4", count=axes, offset=4) if len(raw) >= 4 + 4 * axes else np.zeros(0, int)
    if raw[:3] != b"\0\0\x08" or len(sizes) != axes or len(raw) != 4 + 4 * axes + sizes.prod():
        raise InputError(f"{path}: not an IDX file of unsigned bytes, or cut short")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(sizes)
