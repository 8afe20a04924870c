"""Ways to store examples in a pool, each a module. A pool is read as its column says, whatever the configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped
from torch import Tensor

from dp_base.errors import DamagedError
from dp_base.registry import Registry
from dp_real.pool.exported import IMAGE, NUMBERS, ExportColumn


@dataclass(frozen=True)
class Storage(ABC):
    """Converts between examples and a column of the pool; the base of the kinds."""

    sample_shape: tuple[int, ...]

    value_bytes: ClassVar[int]
    """The bytes of a value in memory; 0 if examples are always read from disk."""

    @abstractmethod
    def check(self) -> None:
        """Raise InputError if examples of this shape cannot be stored so."""

    @property
    def size(self) -> int:
        return int(np.prod(self.sample_shape))

    @property
    @abstractmethod
    def type(self) -> pa.DataType: ...

    @property
    @abstractmethod
    def feature(self) -> dict[str, Any]:
        """The column as `datasets` describes it."""

    @abstractmethod
    def encode(self, x: Shaped[Tensor, "rows *sample"]) -> pa.Array: ...

    @abstractmethod
    def decode(self, column: pa.Array) -> Shaped[Tensor, "rows *sample"]: ...

    @property
    def exported(self) -> ExportColumn:
        """The column that has the examples in an exported pool."""
        return IMAGE if len(self.sample_shape) == 3 else NUMBERS


STORAGES: Registry[type[Storage]] = Registry("storages", "dp_real.pool.storages")


def open_storage(name: str, sample_shape: tuple[int, ...]) -> Storage:
    """The storage that pool.storage names, if it keeps examples of this shape."""
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
