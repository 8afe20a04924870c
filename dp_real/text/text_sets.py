"""Sets of real texts in UTF-8: class folders, DIR/CLASS/TEXT.txt, CSV and JSONL files, and data sets of `datasets`."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from dp_base.errors import InputError
from dp_base.reading import foreign_file, read_plain_csv
from dp_real.data.sets import table_sets
from dp_real.data.sets.class_names import Classes, class_files, warn_once
from dp_real.data.sets.images import read_regular
from dp_real.data.sets.places import Located
from dp_real.data.sets.table_sets import LABELS, pick
from dp_real.examples import Examples
from dp_real.text.codes import to_codes

TEXTS = ("text", "sentence", "content", "review", "document", "word")  # columns to try, in this order


class Row(NamedTuple):
    """A text, its class's name or number, and where it is, for messages."""

    text: Any
    name: str
    place: str

    def checked(self) -> str:
        """The text without blanks at its ends; InputError if there is none."""
        if not isinstance(self.text, str) or not self.text.strip():
            raise InputError(f"{self.place}: there is no text in it; give it some, or remove it")
        if "\0" in self.text:
            raise InputError(f"{self.place}: it has characters of code 0, which no text has; mend or remove it")
        return self.text.strip()


def read_texts(found: Located, classes: Classes, length: int, needed: Collection[int]) -> Examples:
    """Codes [n, length] in the set's own order; a remark counts the texts that are cut."""
    is_folder = found.kind == "folders"
    whole = _rows_of_folder(found.paths[0], classes, needed) if is_folder else rows_of_table(found, classes)
    names = [row.name for row in whole]
    rows, y = classes.rows(names, [row.place for row in whole], found.where, needed, "texts")
    texts = [whole[row].checked() for row in rows]
    long = sum(len(text) > length for text in texts)
    if long:
        warn_once(
            f"{found.where}: {long:,} of {len(texts):,} texts are longer than data.length = {length}, and are cut"
        )
    return Examples(to_codes(texts, length), torch.tensor(y))


def _rows_of_folder(folder: Path, classes: Classes, needed: Collection[int]) -> list[Row]:
    rows = []
    for path, (_, files) in class_files(folder, classes, (".txt",), "texts", needed).items():
        for file in files:
            with foreign_file(file, "cannot be read as text in UTF-8"):
                text = read_regular(file).decode("utf-8-sig")  # some editors begin a file with a mark
            rows.append(Row(text, path.name, str(file)))
    return rows


def rows_of_table(found: Located, classes: Classes) -> list[Row]:
    """The rows of CSV, JSONL and Parquet files, and of what `datasets` saved."""
    if found.kind in ("csv", "jsonl"):
        table: Any = pd.concat([_plain_table(found, path) for path in found.paths])
        features: dict[str, Any] = dict.fromkeys(map(str, table.columns))
    elif found.kind in ("parquet", "saved"):
        table = table_sets.open_table(found)
        features = dict(table.features)
    else:
        raise InputError(
            f"{found.where}: there are no texts in it; name class folders with .txt files, CSV, JSONL or Parquet"
        )
    labels = [name for name, each in features.items() if hasattr(each, "names")]
    strings = [name for name, each in features.items() if getattr(each, "dtype", "") in ("string", "large_string")]
    usual = [name for name in TEXTS if name in strings][:1]
    likely = (usual or strings) if labels else []  # without such labels, strings may be those
    text = pick(found.where, "text", found.columns.image, likely, features, TEXTS, "TEXT")
    label = pick(found.where, "label", found.columns.label, labels, features, LABELS, "TEXT")
    names = table_sets.class_names(found.where, table[label], features[label], classes)
    rows = enumerate(zip(table[text][:], names, strict=True), 1)
    return [Row(*of_row, f"{found.where}: row {number}") for number, of_row in rows]


def _plain_table(found: Located, path: Path) -> pd.DataFrame:
    """All columns of CSV are strings."""
    csv = found.kind == "csv"
    kind = "CSV with a line of column names" if csv else "JSON, an object a line"
    with foreign_file(found.where, f"{path.name} cannot be read as {kind}, in UTF-8"):
        if csv:
            return read_plain_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        lines = read_regular(path).decode("utf-8-sig").split("\n")
        return pd.DataFrame([json.loads(line) for line in lines if line.strip()], dtype=object)
