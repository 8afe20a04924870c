"""Tables that others wrote: CSV files, of which pandas would take some for what they are not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.reading import shortened

if TYPE_CHECKING:
    import pandas as pd


def read_plain_csv(path: Path, comments: bool = False, **options: Any) -> pd.DataFrame:
    """The rows, numbered from 0, of a CSV file whose first line names the columns.

    With `comments`, lines that begin with # may stand above the names. Raises ValueError for rows with more fields than
    there are columns, which pandas would take as row labels so that all columns shift, and for columns of equal names,
    which pandas would rename. pandas raises further ones.
    """
    import pandas as pd

    if comments:
        lines = pd.read_csv(path, header=None, sep="\x1e", quoting=3, dtype=str, keep_default_na=False)[0]
        options["skiprows"] = int(lines.str.startswith("#").cummin().sum())
    names = pd.read_csv(path, **{**options, "header": None, "nrows": 1, "dtype": str}).iloc[0].tolist()
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several columns are called {shortened(', '.join(twice))}: give each a name of its own")
    table = pd.read_csv(path, **options)
    if not isinstance(table.index, pd.RangeIndex):
        columns = shortened(", ".join(map(str, names)))
        raise ValueError(f'rows have more fields than the columns {columns}: put "…" around a value with a comma')
    return table
