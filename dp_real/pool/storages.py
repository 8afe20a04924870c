"""Ways to store examples in a pool. A pool is read by its column's type, whatever the configuration."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Shaped
from torch import Tensor

from dp_base.errors import DamagedError, InputError
from dp_base.registry import Registry
from dp_real.data.examples import is_picture
from dp_real.runtime import pixels

NUMBERS_FEATURE: Any = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
"""The description of a list of numbers for `datasets`."""
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@dataclass(frozen=True)
class ExportColumn:
    """A column of exported examples: name, description for `datasets`, and a function to values."""

    name: str
    feature: dict[str, Any]
    value: Callable[[Tensor], Any]


def png(example: Tensor) -> dict[str, Any]:
    """An image [C, H, W] as `datasets` stores it in Parquet."""
    buffer = io.BytesIO()
    pixels.to_image(pixels.to_bytes(example)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


IMAGE = ExportColumn("image", {"_type": "Image"}, png)
NUMBERS = ExportColumn("example", NUMBERS_FEATURE, lambda example: example.flatten().tolist())


@dataclass(frozen=True)
class Storage(ABC):
    """Converts between examples and a column of the pool, which `datasets` describes as `feature`."""

    sample_shape: tuple[int, ...]

    value_bytes: ClassVar[int]
    """The bytes of a value in memory; 0 if examples are always read from disk."""
    type: ClassVar[Any]
    feature: ClassVar[Any]

    def check(self) -> None:  # noqa: B027 (most hold any shape)
        """Raise InputError if this storage cannot hold this shape."""

    @property
    def size(self) -> int:
        return int(np.prod(self.sample_shape))

    @abstractmethod
    def encode(self, x: Shaped[Tensor, "rows *sample"]) -> pa.Array: ...

    @abstractmethod
    def decode(self, column: pa.Array) -> Shaped[Tensor, "rows *sample"]: ...

    @property
    def exported(self) -> ExportColumn:
        """The column of an exported pool's examples."""
        return IMAGE if is_picture(self.sample_shape) else NUMBERS


STORAGES: Registry[type[Storage]] = Registry("storages", "dp_real.pool.storages")


def open_storage(name: str, sample_shape: tuple[int, ...]) -> Storage:
    """The storage that pool.storage names, if it can hold this shape."""
    storage = STORAGES[name](sample_shape)
    storage.check()
    return storage


def storage_of(column: pa.DataType, sample_shape: tuple[int, ...]) -> Storage:
    """The storage that writes a column of this type; DamagedError if none does."""
    for _, kind in STORAGES.items():
        storage = kind(sample_shape)
        if storage.type == column:
            return storage
    raise DamagedError(f"a pool has examples of type {column}, which no known storage writes for shape {sample_shape}")


@STORAGES.named("float32", place=1)
class Floats(Storage):
    """Numbers as they were computed."""

    value_bytes = 4
    value_type = pa.float32()

    @property
    def type(self) -> pa.DataType:
        return pa.list_(self.value_type, self.size)

    @property
    def feature(self) -> dict[str, Any]:
        return {"feature": {"dtype": str(self.value_type), "_type": "Value"}, "length": self.size, "_type": "List"}

    def encode(self, x: Tensor) -> pa.Array:
        values = pa.array(x.flatten().numpy(), self.value_type)
        return pa.FixedSizeListArray.from_arrays(values, self.size)

    def decode(self, column: pa.Array) -> Tensor:
        return torch.from_numpy(column.flatten().to_numpy().copy()).view(-1, *self.sample_shape)


def _bytes_of(x: Tensor) -> Tensor:
    return x if x.dtype == torch.uint8 else pixels.to_bytes(x)


@STORAGES.named("uint8", place=2)
class Bytes(Floats):
    """Images in bytes, see dp_real.runtime.pixels."""

    value_bytes = 1
    value_type = pa.uint8()

    def check(self) -> None:
        if len(self.sample_shape) != 3:
            raise InputError(
                f"pool.storage = 'uint8' holds images with values in [-1, 1]; these are {list(self.sample_shape)}"
            )

    def encode(self, x: Tensor) -> pa.Array:
        return super().encode(_bytes_of(x))


@STORAGES.named("jpeg", place=3)
class Jpegs(Storage):
    """Images as JPEG files."""

    value_bytes = 0
    type = IMAGE_TYPE
    feature = IMAGE.feature

    def check(self) -> None:
        if not is_picture(self.sample_shape):
            raise InputError(f"pool.storage = 'jpeg' holds images [1 or 3, H, W]; these are {[*self.sample_shape]}")

    def encode(self, x: Tensor) -> pa.Array:
        files = pa.array(pixels.encode(_bytes_of(x)), pa.binary())
        return pa.StructArray.from_arrays([files, pa.nulls(len(files), pa.string())], fields=list(IMAGE_TYPE))

    def decode(self, column: pa.Array) -> Tensor:
        return pixels.decode(column.flatten()[0].to_pylist(), self.sample_shape)
