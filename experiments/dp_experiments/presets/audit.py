"""Checks of the paper's tables, and the data equivalence of Tables 4 and 5.

It is how many static samples reach a practice run's accuracy, over its own.
"""

import numpy as np
import pandas as pd

from dp_experiments.presets.printed_tables import table_path

SCALING = {"ImageNet-100": 4, "ImageNet-1k": 5}  # data set -> the table that holds its scaling curves


def reported(number: int) -> pd.DataFrame:
    """The paper's Table `number` (1 to 5). The head comments of its file describe the columns."""
    return pd.read_csv(table_path(number), comment="#")


def misprinted_totals(table: pd.DataFrame) -> pd.DataFrame:
    """The practice rows whose total is not initial + rounds * increment."""
    return table.query("method != 'static' and total != initial + rounds * increment")


def rising(n: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """The sizes of a curve [S], in increasing order, that are better than all smaller ones."""
    order = np.argsort(n)
    reached = accuracy[order]
    return order[np.r_[True, reached[1:] > np.maximum.accumulate(reached)[:-1]]]


def static_equivalent(
    accuracy: np.ndarray, n_static: np.ndarray, static_accuracy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The number of static samples that first reach each `accuracy` [A], linear in log n, and its bound.

    "=" is within the curve [S], whose `rising` sizes count, ">" above its best accuracy, "<" below that of its smallest
    n.
    """
    curve = rising(n_static, static_accuracy)
    n = n_static[curve]
    reached = static_accuracy[curve]
    number = np.exp(np.interp(accuracy, reached, np.log(n)))
    above = accuracy > reached[-1]
    below = accuracy < reached[0]
    return np.where(above, n_static.max(), number), np.where(above, ">", np.where(below, "<", "="))


def data_equivalence() -> pd.DataFrame:
    """Tables 4 and 5, with the static equivalent of practice rows and its ratio to the total."""
    parts = []
    for dataset, number in SCALING.items():
        table = reported(number)
        static = table.query("method == 'static'")
        practice = table.query("method != 'static'")
        equivalent, bound = static_equivalent(
            practice["val"].to_numpy(), static["total"].to_numpy(), static["val"].to_numpy()
        )
        practice = practice.assign(static_equivalent=equivalent, bound=bound, ratio=equivalent / practice["total"])
        parts.append(pd.concat([static, practice]).assign(dataset=dataset))
    columns = ["dataset", "method", "total", "val", "static_equivalent", "bound", "ratio", "note"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)
