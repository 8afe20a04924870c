"""Images as JPEG files, which are always read from disk."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from dp_base.errors import InputError
from dp_real.pool.storages import STORAGES, Storage
from dp_real.runtime import pixels


@STORAGES.named("jpeg", place=3)
class Jpegs(Storage):
    """Images as JPEG files."""

    value_bytes: ClassVar[int] = 0

    def check(self) -> None:
        shape = self.sample_shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"pool.storage = 'jpeg' keeps images [1 or 3, H, W]; these are {list(shape)}")

    @property
    def type(self) -> pa.DataType:
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})

    @property
    def feature(self) -> dict[str, Any]:
        return {"_type": "Image"}

    def encode(self, x: Shaped[Tensor, "rows *sample"]) -> pa.Array:
        stored = x if x.dtype == torch.uint8 else pixels.to_bytes(x)
        files = pa.array(pixels.encode(stored), pa.binary())
        return pa.StructArray.from_arrays([files, pa.nulls(len(files), pa.string())], fields=list(self.type))

    def decode(self, column: pa.Array) -> UInt8[Tensor, "rows *sample"]:
        return pixels.decode(column.flatten()[0].to_pylist(), self.sample_shape)
