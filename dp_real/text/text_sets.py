"""Sets of real texts in UTF-8: class folders, DIR/CLASS/TEXT.txt, CSV and JSONL files, and data sets of `datasets`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
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
EXAMPLE = "TEXT"  # what messages call the column of examples


class Rows(NamedTuple):
    """Texts, their class names or numbers, and where each is, for messages."""

    texts: Sequence[Any]
    names: Sequence[str]
    places: Sequence[str]


def read_texts(found: Located, classes: Classes, length: int, needed: Collection[int]) -> Examples:
    """Codes [n, length] in the set's order; a remark counts texts that are cut."""
    whole = _read(found, classes, needed)
    rows, y = classes.rows(whole.names, whole.places, found.where, needed, "texts")
    texts = [checked(whole.texts[row], whole.places[row]) for row in rows]
    long = sum(len(text) > length for text in texts)
    if long:
        warn_once(
            f"{found.where}: {long:,} of {len(texts):,} texts are longer than data.length = {length}, and are cut"
        )
    return Examples(to_codes(texts, length), torch.tensor(y))


def checked(text: Any, place: str) -> str:
    """A text without blanks at its ends; InputError, at `place`, if there is none."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: there is no text in it; give it some, or remove it")
    if "\0" in text:
        raise InputError(f"{place}: it has characters of code 0, which no text has; mend or remove it")
    return text.strip()


def _read(found: Located, classes: Classes, needed: Collection[int]) -> Rows:
    if found.kind == "folders":
        return _read_folders(found.paths[0], classes, needed)
    if found.kind in ("csv", "jsonl"):
        return rows_of_table(found)
    if found.kind not in ("parquet", "saved"):
        raise InputError(
            f"{found.where}: there are no texts in it; name class folders with .txt files, CSV, JSONL or Parquet"
        )
    data = table_sets.open_table(found)
    features: Mapping[str, Any] = data.features
    strings = [name for name, each in features.items() if getattr(each, "dtype", "") in ("string", "large_string")]
    labels = [name for name, each in features.items() if hasattr(each, "names")]
    text, label = _picked(found, list(features), strings if labels else [], labels)
    names = table_sets.class_names(found.where, data[label], features[label], classes)
    return Rows(data[text][:], names, _places(found, len(data)))


def _read_folders(folder: Path, classes: Classes, needed: Collection[int]) -> Rows:
    texts, names, places = [], [], []
    for path, (_, files) in class_files(folder, classes, (".txt",), "texts", needed).items():
        for file in files:
            with foreign_file(file, "cannot be read as text in UTF-8"):
                texts.append(read_regular(file).decode("utf-8-sig"))  # some editors begin a file with a mark
            names.append(path.name)
            places.append(str(file))
    return Rows(texts, names, places)


def _table(where: str, path: Path, csv: bool) -> pd.DataFrame:
    """All columns are strings."""
    kind = "CSV with a line of column names" if csv else "JSON, an object a line"
    with foreign_file(where, f"{path.name} cannot be read as {kind}, in UTF-8"):
        if csv:
            return read_plain_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        lines = read_regular(path).decode("utf-8-sig").split("\n")
        return pd.DataFrame([json.loads(line) for line in lines if line.strip()], dtype=object)


def rows_of_table(found: Located) -> Rows:
    """The rows of CSV or JSONL files."""
    if found.kind not in ("csv", "jsonl"):
        raise InputError(f"{found.where}: should be a .csv or .jsonl file of texts")
    table = pd.concat([_table(found.where, path, csv=found.kind == "csv") for path in found.paths])
    text, label = _picked(found, [str(name) for name in table.columns], [], [])
    names = table_sets.plain_names(found.where, table[label].tolist())
    return Rows(table[text].tolist(), names, _places(found, len(table)))


def _places(found: Located, rows: int) -> list[str]:
    return [f"{found.where}: row {row}" for row in range(1, rows + 1)]


def _picked(found: Located, there: list[str], texts: list[str], labels: list[str]) -> tuple[str, str]:
    usual = [name for name in TEXTS if name in (texts or there)][:1]
    text = pick(found.where, "text", found.columns.image, usual or texts, there, TEXTS, EXAMPLE)
    return text, pick(found.where, "label", found.columns.label, labels, there, LABELS, EXAMPLE)
