"""Texts as numbers, int32 [L], which are code points and then zeros; and as a pool's strings."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int32
from torch import Tensor

from dp_base.errors import warn_once
from dp_real.data.examples import ExampleArray
from dp_real.pool.storages import STORAGES, ExportColumn, Storage

BLOCK = 4096  # texts of one read
TEXT_BATCH_SIZE = 64  # texts of a forward pass; more of them may be computed in another order


def to_codes(texts: Iterable[str], length: int, giver: str = "") -> Tensor:
    """Characters beyond `length` are cut off, as a warning says if a `giver` is named; null characters are left out."""
    rows = [text.replace("\0", "").encode("utf-8", "replace").decode() for text in texts]
    if giver and any(len(text) > length for text in rows):
        keeps = 'data.length, or Practice(shape=[LENGTH], storage="text"), keeps more'
        warn_once(f"{giver} gave texts of more than {length:,} characters, which are cut: {keeps}")
    return torch.from_numpy(np.array(rows, f"U{length}").view(np.int32).reshape(len(rows), length))


def texts_of(x: ExampleArray) -> list[str]:
    """The texts of codes [n, L], such as a pool's examples."""
    parts = (x[start : start + BLOCK].to("cpu", torch.int32).numpy() for start in range(0, x.shape[0], BLOCK))
    return [row[row != 0].tobytes().decode("utf-32-le") for part in parts for row in part]


def text_of(example: Tensor) -> str:
    """The text of an example [L]."""
    return texts_of(example.unsqueeze(0))[0]


@STORAGES.named("text")
class Strings(Storage):
    """Stores texts as strings."""

    value_bytes = 4
    type = pa.large_string()
    feature: ClassVar[Any] = {"dtype": "large_string", "_type": "Value"}

    def encode(self, x: Tensor) -> pa.Array:
        return pa.array(texts_of(x), self.type)

    def decode(self, column: pa.Array) -> Int32[Tensor, "rows characters"]:
        return to_codes(column.to_pylist(), self.size)

    @property
    def exported(self) -> ExportColumn:
        return ExportColumn("text", self.feature, text_of)
