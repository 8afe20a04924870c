"""The ridge of the least test error, for K classes."""

import logging
from dataclasses import replace

import numpy as np

from dp_theory.multiclass.prediction import LEVELS, STEPS, WIDE, Nodes, SoftmaxEquations
from dp_theory.multiclass.selection import SETS
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import Array

NARROWEST = 1e-6  # the least ridge that is tried, per kept row
_FINER = 17  # ridges of the finer grid, which spans a step of the first to either side

log = logging.getLogger(__name__)


def with_best_ridge(problem: SoftmaxProblem, *, seed: int = 0) -> SoftmaxProblem:
    """The problem at its best ridge between WIDE and NARROWEST per kept row."""
    for level in LEVELS[1:]:
        nodes = Nodes.of(problem.classes, problem.selection, problem.rho, SETS, level, seed)
        if nodes.suffice:
            break
    equations = SoftmaxEquations(problem, nodes)
    ridges = np.geomspace(WIDE, NARROWEST, 1 + round(STEPS * np.log10(WIDE / NARROWEST)))
    best = int(np.argmax(_cosines(equations, ridges)))
    start = max(best - 1, 0)
    finer = np.geomspace(ridges[start], ridges[: best + 2][-1], _FINER)
    lam = float(finer[np.argmax(_cosines(equations, np.append(ridges[:start], finer))[start:])])
    if np.isclose(lam, NARROWEST, atol=0):
        log.warning(
            "%d classes, %g training rows per dimension: the best ridge is the narrowest that is tried, %g per kept "
            "row; a narrower one may be better",
            problem.classes,
            float(problem.selection.keep_fraction(problem.classes).mean() / problem.phi),
            NARROWEST,
        )
    return replace(problem, lam=float(nodes.mass.mean()) * lam)


def _cosines(equations: SoftmaxEquations, ridges: Array) -> list[float]:
    return [x[0] / np.hypot(np.linalg.norm(x[:-2]), np.exp(x[-2])) for x in equations.path(ridges)]
