"""Checks of the paper's reported tables, and the data equivalence that follows from Tables 4 and 5.

The data equivalence of a practice run is n_static / n_practice. n_static is the number of static samples that reach the
accuracy of that run, read off the static curve.
"""

import numpy as np
import pandas as pd

from dp_experiments.presets.reported.printed_tables import table_path

SCALING = {"ImageNet-100": 4, "ImageNet-1k": 5}  # data set -> the table that holds its scaling curves


def reported(number: int) -> pd.DataFrame:
    """The paper's Table `number` (1 to 5). The head comments of its file describe the columns."""
    return pd.read_csv(table_path(number), comment="#")


def misprinted_totals(table: pd.DataFrame) -> pd.DataFrame:
    """The practice rows of Table 4 or 5 whose total is not initial + rounds * increment."""
    return table.query("method != 'static' and total != initial + rounds * increment")


def rising(n: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Which sizes make up a curve [S], in increasing order: those that are better than all smaller ones."""
    order = np.argsort(n)
    reached = accuracy[order]
    return order[np.r_[True, reached[1:] > np.maximum.accumulate(reached)[:-1]]]


def static_equivalent(
    accuracy: np.ndarray, n_static: np.ndarray, static_accuracy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number of static samples that first reach each `accuracy` [A], interpolated linearly in log n, and its bound.

    n_static and static_accuracy, both [S], are the static curve, of which the `rising` sizes count. The bound is "="
    within the curve. Above its best accuracy it is ">", and the number is the largest n. Below the accuracy of the
    smallest n it is "<", and the number is that n.
    """
    curve = rising(n_static, static_accuracy)
    n = n_static[curve]
    reached = static_accuracy[curve]
    number = np.exp(np.interp(accuracy, reached, np.log(n)))
    above = accuracy > reached[-1]
    below = accuracy < reached[0]
    return np.where(above, n_static.max(), number), np.where(above, ">", np.where(below, "<", "="))


def data_equivalence() -> pd.DataFrame:
    """Tables 4 and 5, one row per run; practice rows have their static equivalent.

    Columns: dataset, method, total, val (%), static_equivalent (samples), bound (of static_equivalent and ratio), ratio
    = static_equivalent / total, note.
    """
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
