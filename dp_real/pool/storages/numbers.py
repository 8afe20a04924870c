"""Examples as numbers: as they were computed, or images in bytes."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import torch
from jaxtyping import Shaped
from torch import Tensor

from dp_base.errors import InputError
from dp_real.pool.storages import STORAGES, Storage
from dp_real.runtime import pixels


@STORAGES.named("float32", place=1)
class Floats(Storage):
    """Numbers as they were computed."""

    value_bytes: ClassVar[int] = 4
    value_type: ClassVar[pa.DataType] = pa.float32()

    def check(self) -> None:
        """Numbers have any shape."""

    @property
    def type(self) -> pa.DataType:
        return pa.list_(self.value_type, self.size)

    @property
    def feature(self) -> dict[str, Any]:
        return {"feature": {"dtype": str(self.value_type), "_type": "Value"}, "length": self.size, "_type": "List"}

    def stored(self, x: Shaped[Tensor, "rows *sample"]) -> Shaped[Tensor, "rows *sample"]:
        """The examples with values of the column's type."""
        return x

    def encode(self, x: Shaped[Tensor, "rows *sample"]) -> pa.Array:
        values = self.stored(x).flatten().numpy()
        return pa.FixedSizeListArray.from_arrays(pa.array(values), self.size)

    def decode(self, column: pa.Array) -> Shaped[Tensor, "rows *sample"]:
        return torch.from_numpy(column.flatten().to_numpy().copy()).view(-1, *self.sample_shape)


@STORAGES.named("uint8", place=2)
class Bytes(Floats):
    """Images in bytes, see dp_real.runtime.pixels."""

    value_bytes: ClassVar[int] = 1
    value_type: ClassVar[pa.DataType] = pa.uint8()

    def check(self) -> None:
        """Only images have values that end at -1 and 1."""
        if len(self.sample_shape) != 3:
            raise InputError(
                "pool.storage = 'uint8' keeps images, whose values end at -1 and 1; "
                f"these are {list(self.sample_shape)}"
            )

    def stored(self, x: Shaped[Tensor, "rows *sample"]) -> Shaped[Tensor, "rows *sample"]:
        return x if x.dtype == torch.uint8 else pixels.to_bytes(x)
