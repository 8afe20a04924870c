"""Texts as numbers, int32 [L]: code points with zeros behind them; and as a pool's strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int32
from torch import Tensor

from dp_real.examples import ExampleArray
from dp_real.pool.storages import STORAGES, ExportColumn, Storage

BLOCK = 4096  # texts that are read together


def to_codes(texts: Iterable[str], length: int) -> Tensor:
    """Characters beyond `length` are cut off, and null characters left out."""
    rows = [np.frombuffer(text.replace("\0", "")[:length].encode("utf-32-le", "replace"), np.int32) for text in texts]
    codes = np.zeros((len(rows), length), np.int32)
    for code, row in zip(codes, rows, strict=True):
        code[: len(row)] = row
    return torch.from_numpy(codes)


def to_texts(codes: Tensor) -> list[str]:
    """From numbers [n, L]."""
    rows = codes.detach().to("cpu", torch.int32).numpy()
    return [row[row != 0].tobytes().decode("utf-32-le") for row in rows]


def texts_of(x: ExampleArray) -> list[str]:
    """Of a pool's or set's examples [n, L]."""
    n = x.shape[0]
    return [text for start in range(0, n, BLOCK) for text in to_texts(x[start : min(start + BLOCK, n)])]


def text_of(example: Tensor) -> str:
    """From an example [L]."""
    return to_texts(example.unsqueeze(0))[0]


@STORAGES.named("text")
class Strings(Storage):
    """Texts as strings of the pool."""

    value_bytes: ClassVar[int] = 4

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
        return ExportColumn("text", {"dtype": "string", "_type": "Value"}, text_of)
