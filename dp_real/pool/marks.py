"""Marks of examples that a person found wrong (`dp real review`): hashes with the class's name, for any run."""

import csv
import hashlib
import re
from pathlib import Path

from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.runtime.pixels import to_bytes

COLUMN = "mark"
MARK = re.compile("[0-9a-f]{64}")


def mark_of(example: Tensor, name: str) -> str:
    """A hash of an image's bytes, or of a text without the zeros behind it, whose number depends on other texts."""
    values = to_bytes(example) if example.ndim == 3 else example
    content = values.contiguous().numpy().tobytes().rstrip(b"\0")
    return hashlib.sha256(name.encode() + b"\0" + content).hexdigest()


def read_marks(file: str | None) -> frozenset[str]:
    """The column `mark` of a CSV file; MissingError without the file, InputError without marks."""
    if file is None:
        return frozenset()
    if not Path(file).is_file():
        raise MissingError(f"pool.marks = '{file}': there is no such file; dp real review RUN makes one")
    with foreign_file(file, "no CSV file in UTF-8"), open(file, encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if COLUMN not in (rows.fieldnames or ()):
            raise InputError(f"{file}: it has no column '{COLUMN}'; dp real review RUN makes such a file")
        marks = set()
        for row in rows:
            if not MARK.fullmatch(row[COLUMN] or ""):
                raise InputError(f"{file}, line {rows.line_num}: its mark should be 64 hexadecimal digits")
            marks.add(row[COLUMN])
    return frozenset(marks)
