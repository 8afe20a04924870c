"""Fashion-MNIST's files: read as they are published, and refused with a message if missing or broken."""

import gzip
from pathlib import Path
from typing import Any

import dp_experiments.studies.fashion.source
import numpy as np
import pytest
import torch
from dp_experiments.studies.fashion.source import FashionConfig, read_idx

from dp_base.errors import InputError, MissingError
from dp_real.examples import SetStatus
from tests.experiments.studies.made import idx


def images_and_labels(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The i-th image is known by its first two pixels."""
    images = np.random.default_rng(0).integers(0, 256, (n, 28, 28))
    images[:, 0, 0] = np.arange(n) // 256
    images[:, 0, 1] = np.arange(n) % 256
    return images, np.arange(n) % 10


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """500 training images zipped, as Debian has them, and 30 test images not zipped; 40 of the former validate."""
    monkeypatch.setattr(dp_experiments.studies.fashion.source, "VALIDATION", 40)
    for part, n, ending, pack in (("train", 500, ".gz", gzip.compress), ("t10k", 30, "", bytes)):
        for name, array in zip(("images-idx3", "labels-idx1"), images_and_labels(n), strict=True):
            (tmp_path / f"{part}-{name}-ubyte{ending}").write_bytes(pack(idx(array)))
    return tmp_path


def load(folder: Path, split: int = 0) -> Any:
    return FashionConfig(source="fashion", folder=str(folder), split=split).load()


def number(x: torch.Tensor) -> torch.Tensor:
    """Return the number of each image, which its first two pixels inside of the padding tell."""
    first, second = ((x[:, 0, 2, 2 + i] + 1) * 127.5 for i in (0, 1))
    return (256 * first + second).round().long()


def test_the_files_become_padded_images_in_three_disjoint_sets(folder: Path):
    data = load(folder)
    (status,) = FashionConfig(source="fashion", folder=str(folder)).describe()
    assert status.problem is None
    together = torch.cat([number(data.generator.x), number(data.validation.x)])
    assert together.sort().values.tolist() == list(range(500))
    assert number(data.test.x).tolist() == list(range(30))
    for part, size in ((data.generator, 460), (data.validation, 40), (data.test, 30)):
        assert tuple(part.x.shape) == (size, 1, 32, 32)
        assert torch.equal(part.y, number(part.x) % 10)
        assert (part.x[:, :, [0, 1, 30, 31]] == -1).all()
        assert (part.x.min(), part.x.max()) == (-1, 1)
    inside = (data.test.x[:, 0, 2:30, 2:30] + 1) * 127.5
    torch.testing.assert_close(inside, torch.from_numpy(images_and_labels(30)[0]).float(), atol=1e-4, rtol=0)


def test_a_missing_file_says_where_to_get_it(folder: Path):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingError, match=r"t10k-labels-idx1-ubyte.*dataset-fashion-mnist.*data\.folder") as caught:
        load(folder)
    config = FashionConfig(source="fashion", folder=str(folder))
    assert config.describe() == [SetStatus("fashion", str(folder), 70_000, str(caught.value))]


def test_a_damaged_file_is_named(folder: Path):
    file = folder / "train-images-idx3-ubyte.gz"
    for damaged in (file.read_bytes()[:-5], gzip.compress(b""), gzip.compress(b"\0\0\x0d\x01" + bytes(8))):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"ubyte\.gz: not a whole IDX file"):
            read_idx(folder / "train-images-idx3-ubyte")
    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((500, 28, 28))))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(29)))
    with pytest.raises(InputError, match=r"30, 28, 28.*29 labels"):
        load(folder)
