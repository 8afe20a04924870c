"""The paper's tables as CSV files. The head comments of each describe its columns."""

import csv
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TableRow = dict[str, str]
SCALING = {"ImageNet-100": 4, "ImageNet-1k": 5}  # data set -> the table that holds its scaling curves


def table_path(number: int) -> Path:
    """The path of Table `number`, 1 to 5."""
    return Path(str(resources.files("dp_experiments.presets") / f"table{number}.csv"))


def table_rows(number: int) -> list[TableRow]:
    """The rows of Table `number`. All values are strings, as in the file."""
    lines = table_path(number).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def reported(number: int) -> "pd.DataFrame":
    """The paper's Table `number` (1 to 5). The head comments of its file describe the columns."""
    import pandas as pd

    return pd.read_csv(table_path(number), comment="#")
