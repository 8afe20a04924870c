"""Reads files. A user's file may be wrong (InputError), the project's own only damaged (DamagedError).

Libraries raise errors of any type on a broken file, so each error of a block counts as its fault.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.errors import DamagedError, DivergedError, InputError, MissingError
from dp_base.files import disk_problem

if TYPE_CHECKING:
    import pandas as pd

KEY = "format"  # the key of a file's format number, see require_format
MAX_QUOTED = 200  # characters that a message quotes at most


def cause_of(error: BaseException) -> str:
    """An error's message in one short line."""
    words = " ".join(str(error).split())
    if isinstance(error, KeyError):  # its message is the key alone
        words = f"there is no {words}"
    return getattr(error, "strerror", None) or shortened(words) or type(error).__name__


def shortened(text: str) -> str:
    """A text of unknown origin, shortened for a message."""
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def toml_value(text: str) -> Any:
    """A text's value in TOML, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


@contextmanager
def foreign_file(place: object, wrong: str = "cannot be read", remedy: str = "") -> Iterator[None]:
    """Turn errors, but the project's and a full disk's, into an InputError "place: wrong: cause; remedy"."""
    try:
        yield
    except (InputError, MissingError, DivergedError):
        raise
    except Exception as error:
        if disk_problem(error):
            raise
        message = f"{place}: {wrong}: {cause_of(error)}"
        raise InputError(f"{message}; {remedy}" if remedy else message) from error


@contextmanager
def own_file(path: Path, remedy: str) -> Iterator[None]:
    """Turn the block's errors into a DamagedError that names the file and the remedy."""
    try:
        yield
    except (InputError, MissingError):
        raise
    except Exception as error:
        raise DamagedError(f"{path} cannot be read: {cause_of(error)}", remedy) from error


def read_json(path: Path, remedy: str = "restore it, or remove it") -> dict[str, Any]:
    """The object in a JSON file of the project. Raises DamagedError without one."""
    with own_file(path, remedy):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no JSON object")
    return value


def read_rows(log: Path) -> list[dict[str, Any]]:
    """The rows that append_row wrote, without an incomplete last line. A file that does not exist has none.

    It is called within `own_file`, since a damaged line raises errors of json.
    """
    whole, _, _ = (log.read_bytes() if log.exists() else b"").rpartition(b"\n")
    return [{**json.loads(line)} for line in whole.splitlines()]


def require_format(record: Mapping[str, Any], number: int, path: str | Path) -> None:
    """Raise InputError unless a file has this format number, which rises when old files would change meaning."""
    version = record.get(KEY)
    if version != number:
        other = "no format number" if version is None else f"format {version!r}"
        raise InputError(
            f"{path} has {other}, and this version of dp reads format {number}: "
            "read it with the version that wrote it, or make it again"
        )


def read_plain_csv(path: Path, comments: bool = False, **options: Any) -> "pd.DataFrame":
    """The rows of a CSV file; with dtype=str semicolons or tabs may separate columns, as its first line shows.

    Raises ValueError where pandas would shift columns, rename equal ones, or join rows between two stray quotes.
    """
    import csv

    import pandas as pd

    if comments:
        lines = pd.read_csv(path, header=None, sep="\x1e", quoting=3, dtype=str, keep_default_na=False)[0]
        options["skiprows"] = int(lines.str.startswith("#").cummin().sum())
    head: dict[str, Any] = {**options, "header": None, "nrows": 1, "dtype": str}
    names = pd.read_csv(path, **head).iloc[0].tolist()
    if "dtype" in options and len(names) == 1 and (others := [each for each in ";\t" if each in str(names[0])]):
        return read_plain_csv(path, **options | {"sep": others[0]})
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several columns are called {shortened(', '.join(twice))}: give each a different name")
    if "dtype" in options:
        csv.field_size_limit(2**31 - 1)
        options["engine"] = "python"  # it alone refuses letters behind a closing quote
    table = pd.read_csv(path, **options)
    if not isinstance(table.index, pd.RangeIndex):
        columns = shortened(", ".join(map(str, names)))
        raise ValueError(f'rows have more fields than the columns {columns}: put "…" around a value with a comma')
    return table
