"""The paper's own numbers (`reported/table*.csv`) and what follows from them.

A data-equivalence ratio says how many static samples do what one deliberate-practice sample does:
ratio = n_static(accuracy) / n_practice, with n_static read off the static curve.
"""

import numpy as np
import pandas as pd

from experiments.reported.tables import table_path

SCALING = {"ImageNet-100": 4, "ImageNet-1k": 5}  # data set -> the table that holds its scaling curves


def reported(number: int) -> pd.DataFrame:
    """The paper's Table `number` (1 to 5); the file's head comments state its columns."""
    return pd.read_csv(table_path(number), comment="#")


def misprinted_totals(table: pd.DataFrame) -> pd.DataFrame:
    """The practice rows of Table 4 or 5 whose total is not initial + rounds * increment."""
    return table.query("method != 'static' and total != initial + rounds * increment")


def static_equivalent(
    accuracy: np.ndarray, n_static: np.ndarray, static_accuracy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number of static samples that first reach `accuracy`, interpolated linearly in log n, and its bound.

    A static size that is no better than a smaller one is passed over. The bound is "=" within the static curve, ">"
    above its best and "<" below its worst, where the number is the largest or the smallest static n tried.
    """
    order = np.argsort(n_static)
    n, reached = n_static[order], static_accuracy[order]
    better = np.r_[True, reached[1:] > np.maximum.accumulate(reached)[:-1]]
    number = np.exp(np.interp(accuracy, reached[better], np.log(n[better])))
    above, below = accuracy > reached.max(), accuracy < reached[0]
    return np.where(above, n.max(), number), np.where(above, ">", np.where(below, "<", "="))


def data_equivalence() -> pd.DataFrame:
    """Tables 4 and 5, a row per run, the practice rows with their static equivalent.

    Columns: dataset, method, total, val (%), static_equivalent (samples), bound (of static_equivalent and
    ratio), ratio = static_equivalent / total, note.
    """
    parts = []
    for dataset, number in SCALING.items():
        table = reported(number)
        static, practice = table.query("method == 'static'"), table.query("method != 'static'")
        equivalent, bound = static_equivalent(
            practice["val"].to_numpy(), static["total"].to_numpy(), static["val"].to_numpy()
        )
        practice = practice.assign(static_equivalent=equivalent, bound=bound, ratio=equivalent / practice["total"])
        parts.append(pd.concat([static, practice]).assign(dataset=dataset))
    columns = ["dataset", "method", "total", "val", "static_equivalent", "bound", "ratio", "note"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)
