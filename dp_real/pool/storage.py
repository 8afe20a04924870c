"""How a pool stores examples: as float32 numbers, as bytes, as JPEG files, or as texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dp_base.errors import InputError
from dp_real.codes import to_codes, to_texts
from dp_real.runtime import pixels
from dp_real.sections import PoolConfig


@dataclass(frozen=True)
class Storage:
    """Converts between tensors [n, *sample_shape] and a column of the pool.

    Raises InputError if JPEG storage is asked for examples that are not images [1 or 3, H, W], or storage as bytes for
    examples that are not images.
    """

    config: PoolConfig
    sample_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = self.sample_shape
        if self.config.storage == "jpeg" and (len(shape) != 3 or shape[0] not in (1, 3)):
            raise InputError(f"pool.storage = 'jpeg' keeps images [1 or 3, H, W]; these are {list(shape)}")
        if self.config.storage == "uint8" and len(shape) != 3:
            raise InputError(
                f"pool.storage = 'uint8' keeps images, whose values end at -1 and 1; these are {list(shape)}"
            )

    @property
    def size(self) -> int:
        """The number of values of an example."""
        return int(np.prod(self.sample_shape))

    @property
    def type(self) -> pa.DataType:
        """The type of the column."""
        if self.config.storage == "text":
            return pa.large_string()
        numbers = {"float32": pa.float32(), "uint8": pa.uint8()}.get(self.config.storage)
        return pa.list_(numbers, self.size) if numbers else pa.large_binary()

    def encode(self, x: Tensor) -> pa.Array:
        """Return the column for examples x [n, *sample_shape]: float32, uint8, or texts (dp_real.codes)."""
        if self.config.storage == "text":
            return pa.array(to_texts(x), pa.large_string())
        stored = x if self.config.storage == "float32" or x.dtype == torch.uint8 else pixels.to_bytes(x)
        if self.config.storage == "jpeg":
            return pa.array(pixels.encode(stored, self.config.quality), pa.large_binary())
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.flatten().numpy()), self.size)

    def decode(self, column: pa.Array) -> Tensor:
        """Return the examples of a column [n, *sample_shape], float32, uint8 or texts.

        The type of the column tells how it stores them.
        """
        if pa.types.is_large_string(column.type):
            return to_codes(column.to_pylist(), self.size)
        if pa.types.is_large_binary(column.type):
            return pixels.decode(column.to_pylist(), self.sample_shape)
        return torch.from_numpy(column.flatten().to_numpy().copy()).view(-1, *self.sample_shape)

    def fits(self, stored: pa.DataType, rows: int) -> bool:
        """Whether this many rows of a column of type `stored` may be in memory. JPEG files never are."""
        if pa.types.is_large_binary(stored):
            return False
        value_bits = 32 if pa.types.is_large_string(stored) else stored.value_type.bit_width
        return value_bits // 8 * rows * self.size <= self.config.memory * 2**30
