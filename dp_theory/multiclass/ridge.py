"""The ridge of the least test error, for K classes."""

from dataclasses import replace

import numpy as np

from dp_theory.multiclass.agreement import disagreement
from dp_theory.multiclass.nodes import Nodes
from dp_theory.multiclass.prediction import STEPS, WIDE, Equations
from dp_theory.multiclass.sobol import SETS
from dp_theory.multiclass.softmax_problem import SoftmaxProblem

NARROWEST = 1e-6  # the least ridge that is tried, per kept row
_LEVEL = 6  # log2 of the points of a set


def with_best_ridge(problem: SoftmaxProblem, *, seed: int = 0) -> SoftmaxProblem:
    """The scalar problem with the ridge of the least test error, between WIDE and NARROWEST per kept row.

    Ridges are tried from the widest on, until the error has risen twice. The minimum is that of the parabola in ln λ
    through the best three. The error is flat there, so that few quasi-random points suffice.

    Raises ConvergenceError where the fixed point is not found.
    """
    nodes = Nodes.of(problem.classes, problem.selection, problem.rho, SETS, _LEVEL, seed)
    ridges = np.geomspace(WIDE, NARROWEST, 1 + round(STEPS * np.log10(WIDE / NARROWEST)))
    errors: list[float] = []
    for x in Equations(problem, nodes).path(ridges):
        k = len(x) - 2
        length = np.hypot(np.linalg.norm(x[:k]), np.exp(x[k]))
        errors.append(disagreement(problem.classes, x[0] / length))
        if len(errors) > 2 and errors[-1] > errors[-2] > errors[-3]:
            break
    best = int(np.argmin(errors))
    shift = 0.0
    if 0 < best < len(errors) - 1:
        before, least, after = errors[best - 1 : best + 2]
        if before + after > 2 * least:
            shift = (before - after) / (before - 2 * least + after) / 2
    per_kept_row = ridges[best] * (ridges[1] / ridges[0]) ** shift
    return replace(problem, lam=float(nodes.mass.mean() * per_kept_row))
