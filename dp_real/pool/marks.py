"""Marks of examples that a person found wrong (`dp real review`): hashes with the class's name, valid in any run that
stores examples in the same bytes: those of a JPEG are others than those of uint8 or float32.
"""

import hashlib
from pathlib import Path

from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.runtime.pixels import to_bytes

COLUMN = "mark"


def mark_of(example: Tensor, name: str) -> str:
    """A hash of a class and of an image's bytes, or of a text without padding, which depends on other texts."""
    values = to_bytes(example) if example.ndim == 3 else example
    content = values.contiguous().numpy().tobytes().rstrip(b"\0")
    return hashlib.sha256(name.encode() + b"\0" + content).hexdigest()


def read_marks(file: str | None) -> frozenset[str]:
    """A CSV file's column `mark`. MissingError without the file, InputError without marks."""
    if file is None:
        return frozenset()
    if not Path(file).is_file():
        raise MissingError(f"pool.marks = '{file}': there is no such file; dp real review RUN makes one")
    import pandas as pd

    with foreign_file(file, "not a CSV file in UTF-8 as dp real review RUN makes"):
        marks = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False)[COLUMN]
        if (wrong := ~marks.str.fullmatch("[0-9a-f]{64}")).any():
            raise InputError(f"{file}, line {wrong.argmax() + 2}: its mark should be 64 hexadecimal digits")
    return frozenset(marks)
