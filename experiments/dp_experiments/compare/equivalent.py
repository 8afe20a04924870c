"""How many static samples reach an accuracy."""

import numpy as np


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
