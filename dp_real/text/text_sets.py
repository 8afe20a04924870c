"""Sets of real texts in UTF-8: class folders, DIR/CLASS/TEXT.txt, CSV and JSONL files, and data sets of `datasets`."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from dp_base.errors import InputError, warn_once
from dp_base.reading import foreign_file, read_plain_csv
from dp_real.data.examples import Examples
from dp_real.data.sets import table_sets
from dp_real.data.sets.class_names import Classes, class_files, read_regular
from dp_real.data.sets.places import Located
from dp_real.text.codes import to_codes

TEXTS = ("text", "sentence", "content", "review", "document", "word")  # usual columns, tried in this order


class Text(NamedTuple):
    """A text, and its place for messages."""

    text: Any
    place: str

    def __str__(self) -> str:
        return self.place

    def checked(self) -> str:
        """The text without blanks at its ends. InputError if nothing is left."""
        if not isinstance(self.text, str) or not self.text.strip():
            raise InputError(f"{self.place}: it has no text; add some, or remove it")
        if re.search("[\0\ud800-\udfff]", self.text):
            raise InputError(f"{self.place}: it has characters of code 0 or halves of some; mend or remove it")
        return self.text.strip()


def read_texts(located: Located, classes: Classes, length: int, needed: Collection[int]) -> Examples:
    """Codes [n, length] in the set's order. A warning counts texts that are cut."""
    with foreign_file(located.where):
        if located.kind == "folders":
            files = class_files(located.paths[0], classes, (".txt",), "texts", needed)
            rows = [(text_of(file), label) for file, label in files]
        else:
            rows = classes.rows(rows_of_table(located, classes), located.where, needed, "texts")
    texts = [text.checked() for text, _ in rows]
    long = sum(len(text) > length for text in texts)
    if long:
        warn_once(
            f"{located.where}: {long:,} of {len(texts):,} texts are longer than data.length = {length}, and are cut"
        )
    return Examples(to_codes(texts, length), torch.tensor([label for _, label in rows]))


def text_of(file: Path) -> Text:
    """A file's text. InputError if it is not UTF-8."""
    with foreign_file(file, "cannot be read as text in UTF-8"):
        # Some editors begin a file with a byte order mark.
        return Text(read_regular(file).decode("utf-8-sig"), str(file))


def rows_of_table(located: Located, classes: Classes) -> list[tuple[Text, str]]:
    """The texts of CSV, JSONL and Parquet files or saved `datasets`, with their classes."""
    table: Any = None
    features: dict[str, Any] = {}
    if located.kind in ("csv", "jsonl"):
        table = pd.concat([_plain_table(path) for path in located.paths])
        features = dict.fromkeys(map(str, table.columns))
    elif located.kind in ("parquet", "saved"):
        table = table_sets.open_table(located)
        features = dict(table.features)
    usual = [name for name in TEXTS if name in features][:1]
    has_images = any(hasattr(feature, "decode") for feature in features.values())
    if table is None or (has_images and not (usual or located.example)):
        raise InputError(f"{located.where}: it holds no texts; name class folders, or texts in CSV, JSONL or Parquet")
    text, label = table_sets.pick_columns(located, "text", usual, features)
    names = table_sets.class_names(located.where, table[label], features[label], classes)
    rows = enumerate(zip(table[text], names, strict=True), 1)
    return [(Text(text, f"{located.where}: row {row}"), name) for row, (text, name) in rows]


def _plain_table(path: Path) -> pd.DataFrame:
    """All columns of CSV are strings."""
    csv = path.suffix.lower() == ".csv"
    kind = "CSV with a line of column names" if csv else "JSON, an object a line"
    with foreign_file(path, f"cannot be read as {kind}, in UTF-8"):
        if csv:
            return read_plain_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        lines = read_regular(path).decode("utf-8-sig").split("\n")
        return pd.DataFrame([{**json.loads(line)} for line in lines if line.strip()], dtype=object)
