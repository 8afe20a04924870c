"""Texts as strings of the pool."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
from jaxtyping import Int32
from torch import Tensor

from dp_real.pool.exported import ExportColumn
from dp_real.pool.storages import STORAGES, Storage
from dp_real.text.codes import to_codes, to_texts


def text(example: Tensor) -> str:
    """Return the text of an example [L]."""
    return to_texts(example.unsqueeze(0))[0]


@STORAGES.named("text")
class Strings(Storage):
    """Texts, which are int32 [n, L] in memory (dp_real.text.codes)."""

    value_bytes: ClassVar[int] = 4

    def check(self) -> None:
        """Only sources of texts allow this storage."""

    @property
    def type(self) -> pa.DataType:
        return pa.large_string()

    @property
    def feature(self) -> dict[str, Any]:
        return {"dtype": "large_string", "_type": "Value"}

    def encode(self, x: Tensor) -> pa.Array:
        return pa.array(to_texts(x), pa.large_string())

    def decode(self, column: pa.Array) -> Int32[Tensor, "rows characters"]:
        return to_codes(column.to_pylist(), self.size)

    @property
    def exported(self) -> ExportColumn:
        return ExportColumn("text", pa.string(), {"dtype": "string", "_type": "Value"}, text)
