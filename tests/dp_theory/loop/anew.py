"""The equations of the loop as its page has them, for all stages at once and the square loss."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dp_theory.loop import PracticeProblem
from dp_theory.loop.equations import OrderParameters, RowView
from dp_theory.loop.placed import Cohort


class Means(NamedTuple):
    """(T3.6), over all rows."""

    gamma: np.ndarray
    ff: np.ndarray
    fg: np.ndarray


def square_forces(cohorts: Sequence[Cohort], parameters: OrderParameters) -> Means:
    """(T3.16) and (T3.17) for the square loss."""
    a, c, x = parameters[0][:, 0], *parameters[1:]
    total = Means(np.zeros(c.shape), np.zeros(c.shape), np.zeros(a.shape))
    for cohort in cohorts:
        i = slice(cohort.first, cohort.last)
        kept = cohort.kept
        row = RowView.of(cohort.selector, parameters, i)
        view = row.view @ kept.frame
        for weight, mass, linear, second in zip(kept.weight, kept.mass, kept.linear, kept.second, strict=True):
            b = weight * np.linalg.inv(np.eye(len(view)) + weight * x[i, i])
            pull = b.sum(axis=1)
            slopes = b @ view
            cross = np.outer(pull, slopes @ linear)
            total.ff[i, i] += mass * (np.outer(pull, pull) + b @ row.noise @ b.T) - cross - cross.T
            total.ff[i, i] += slopes @ second @ slopes.T
            by_coordinate = (np.outer(pull, linear) - slopes @ second) @ kept.frame.T
            total.fg[i] += by_coordinate[:, 0]
            total.gamma[i, i] += mass * b
            if (k := cohort.selector) is not None:
                total.gamma[i, k] -= by_coordinate[:, 1] / np.sqrt(c[k, k]) + mass * b @ c[i, k] / c[k, k]
    return total


def missed(problem: PracticeProblem, means: Means, parameters: OrderParameters) -> OrderParameters:
    """Right-hand sides of (T3.9), (T3.10) and (T3.11) less a, C and X."""
    (cell,) = problem.cells()
    a, c, x = parameters[0][:, 0], *parameters[1:]
    a_off, c_off, x_off = -a, -c - np.outer(a, a), -x
    b = means.fg + means.gamma @ a
    for e, v in zip(cell.eigenvalues, problem.labeller_direction, strict=True):
        m = e * np.linalg.inv(np.diag(cell.ridges) + e * means.gamma)
        share = cell.phi / len(cell.eigenvalues)
        a_off = a_off + v**2 * m @ b
        c_off = c_off + v**2 * np.outer(m @ b, m @ b) + share * m @ means.ff @ m.T
        x_off = x_off + share * m
    return OrderParameters(a_off[:, None], c_off, x_off)
