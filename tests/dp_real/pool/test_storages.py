"""Kinds of storage: each reads what it wrote, and says what it does not keep."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from dp_base.errors import DamagedError, InputError
from dp_real.pool.storages import STORAGES, open_storage, storage_of
from dp_real.runtime.pixels import to_float

IMAGE = (1, 4, 4)


@pytest.mark.parametrize("name", ["float32", "uint8"])
def test_a_storage_reads_what_it_wrote(name: str):
    x = (torch.randint(0, 256, (3, *IMAGE)) * 2 - 255) / 255
    storage = open_storage(name, IMAGE)
    column = storage.encode(x)
    again = storage_of(column.type, IMAGE)
    assert type(again) is type(storage)
    assert torch.allclose(to_float(again.decode(column)), x, atol=1e-6)
    assert storage.exported.name == "image"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("uint8", (5,), "keeps images"),
        ("jpeg", (2, 4, 4), r"keeps images \[1 or 3, H, W\]"),
        ("uint9", IMAGE, "did you mean 'uint8'"),
    ],
)
def test_what_a_storage_does_not_keep_is_named(name: str, shape: tuple[int, ...], message: str):
    with pytest.raises(InputError, match=message):
        open_storage(name, shape)


def test_a_column_that_no_storage_writes_is_damage():
    with pytest.raises(DamagedError, match="no known storage writes"):
        storage_of(pa.list_(pa.float64(), 16), IMAGE)


def test_the_engine_has_no_word_of_texts():
    """Texts come by entry points, as anybody's own package would: no module outside their room imports them."""
    assert STORAGES["text"].__module__ == "dp_real.text.codes"
    root = Path(__file__).parents[3] / "dp_real"
    outside = [file for file in root.rglob("*.py") if file.relative_to(root).parts[0] not in ("text", "dividing.py")]
    importing = [file for file in outside if "dp_real.text" in file.read_text(encoding="utf-8")]
    assert importing == []
