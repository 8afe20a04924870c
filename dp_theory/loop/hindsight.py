"""Hindsight: the errors of every stage on the rows that one round added, before and after (the paper's Fig. 6).

A row's score is η of (T3.3), or h of (T3.4) at stages that train on it. With the square loss h = fit·y1 + unfitted·η,
fit = X B, B = c(I + cX_b)^-1.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from dp_base.errors import InputError
from dp_theory.loop.groups import Addition, BoundaryFlips
from dp_theory.loop.losses import Square
from dp_theory.loop.outcomes import PracticePrediction
from dp_theory.loop.placed import PlacedRows, score_nodes
from dp_theory.loop.square import ORDER, OrderParameters
from dp_theory.numerics.checks import Array, Float, require, require_kind, require_whole
from dp_theory.numerics.quadrature import both_below

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem

# Share of a round's rows that are wrong, below which rounding decides.
RESOLVED = 1e-12
# It stands for a 0 in a denominator.
_TINY = 1e-100


def row_errors(prediction: PracticePrediction, addition: int) -> Float[Array, "*cells stages"]:
    """The error of each stage on the rows that one round added and its learner had wrong.

    Parameters
    ----------
    prediction
        A predicted loop with the square loss. Its problem has the shape S of `cells`.
    addition
        The number of the round, from 0.

    Returns
    -------
    Float[ndarray, "*cells stages"]
        P(y·score < 0), against the labels as observed; 1 for the stage that selected the rows.

    Raises
    ------
    InputError
        If there is no such addition, if a share of less than RESOLVED of its rows is wrong, if only the moments of its
        rows are known, for other losses than the square, and for BoundaryFlips.
    """
    require_kind(PracticePrediction, prediction=prediction)
    problem = prediction.problem
    if not isinstance(problem.loss, Square):
        raise InputError(f"row_errors is for the square loss, whose forces are linear, not for {problem.loss}")
    require_whole(addition=addition)
    rounds = len(problem.additions)
    require("addition", addition, 0 <= addition < rounds, f"be at least 0 and below {rounds}, the number of additions")
    errors = np.empty(prediction.test_error.shape)
    for index in np.ndindex(problem.shape):
        rows = prediction.additions[(*index, addition)]
        parameters = OrderParameters(
            prediction.alignment[index][:, None], prediction.covariance[index], prediction.response[index]
        )
        errors[index] = _errors_of_cell(problem, rows, addition, parameters)
    return errors


def _errors_of_cell(problem: "PracticeProblem", rows: Addition, addition: int, parameters: OrderParameters) -> Array:
    flip = rows.flips(problem.flip)
    if isinstance(flip, BoundaryFlips):
        raise InputError("row_errors is for labels that are flipped with one probability")
    first = addition + 1
    placed = PlacedRows(rows, flip, np.array([1.0, 0.0]), parameters.selector(addition))
    axes = placed.axes

    t, measure, _ = score_nodes(placed, ORDER)
    y = np.where(t < 0, 1.0, -1.0)  # which the learner has wrong
    keep, weight = rows.select(t, y)
    mass = measure * keep * (weight > 0)
    kept = mass > 0
    t, y, mass, weight = t[kept], y[kept], mass[kept], weight[kept, None, None]
    if not len(t):
        raise InputError(f"addition {addition} brings no row that is wrong when added: {rows}")

    trained = slice(first, problem.stages if problem.accumulate else first + 1)
    own = parameters.x[trained, trained]
    fit = parameters.x[:, trained] @ (weight * np.linalg.inv(np.eye(len(own)) + weight * own))
    unfitted = np.tile(np.eye(problem.stages), (len(t), 1, 1))
    unfitted[:, :, trained] -= fit

    # y·score = margin + slope·ζ + noise, of this deviation in all, (nodes, stages) each
    view, noise, _ = parameters.scores(addition, slice(None))
    of_view = unfitted @ (view @ axes.frame)
    margin = fit.sum(axis=2) + (y * t)[:, None] * of_view[..., 0]
    slope = y[:, None] * of_view[..., 1]
    variance = np.maximum(np.einsum("jsi,ik,jsk->js", unfitted, noise, unfitted), 0.0)
    width = np.maximum(np.sqrt(slope**2 + variance), _TINY)
    errors, labels = np.zeros(problem.stages), 0.0
    for agreement, chance in ((1.0, 1 - flip), (-1.0, flip)):
        true = agreement * y[:, None]  # the row's true label, which it has where true·ζ > -bound
        bound = true * (axes.slope * t / axes.kappa)[:, None]
        errors = errors + chance * mass @ both_below(bound, -margin / width, -true * slope / width)
        labels = labels + chance * float(mass @ ndtr(bound)[:, 0])
    if labels < RESOLVED * mass.sum():
        raise InputError(
            f"addition {addition} brings too few rows that are wrong when added, less than {RESOLVED:g} of it"
        )
    return errors / labels
