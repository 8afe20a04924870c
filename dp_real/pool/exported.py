"""The column that has the examples in an exported pool, as `datasets` knows it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from torch import Tensor

from dp_real.runtime.pixels import to_bytes, to_image

NUMBERS_FEATURE: Any = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
"""A list of numbers, as `datasets` describes it."""


@dataclass(frozen=True)
class ExportColumn:
    """A column of examples: its type in Parquet, its description for `datasets`, and the value for an example."""

    name: str
    type: pa.DataType
    feature: dict[str, Any]
    value: Callable[[Tensor], Any]


def png(example: Tensor) -> dict[str, Any]:
    """An image [C, H, W] as `datasets` stores it in Parquet."""
    buffer = io.BytesIO()
    to_image(to_bytes(example)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def numbers(example: Tensor) -> list[float]:
    """The values of an example in order."""
    return example.flatten().tolist()


IMAGE = ExportColumn("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}, png)
NUMBERS = ExportColumn("example", pa.list_(pa.float32()), NUMBERS_FEATURE, numbers)
