"""Hindsight: the errors of every stage on the rows that one round added, before and after (the paper's Fig. 6)."""

import numpy as np
from scipy.special import ndtr, owens_t

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, require, require_whole
from dp_theory.practice.cohorts import nodes
from dp_theory.practice.dmft import geometry
from dp_theory.practice.practice_problem import MeasuredRows, PracticePrediction, PracticeProblem, RoundRows
from dp_theory.practice.prediction import ORDER
from dp_theory.span.flips import BoundaryFlips
from dp_theory.span.losses import Square

RESOLVED = 1e-12  # share of a round's rows that are wrong, below which rounding decides


def row_errors(prediction: PracticePrediction, addition: int, wrong: bool = True) -> Array:
    """Each stage's error on the rows that additions[addition] brought, (*S, stages), S the problem's shape.

    P(y·score < 0), against the labels as observed; `wrong`: only over the rows that were misclassified when they were
    added (1 at that stage). The score of a row is θ + Xf (dp_theory.practice.dmft): θ·x while unseen, and the fit to it
    once the stage trains on it. Raises InputError if there is no such addition, if it brings no such row or fewer than
    a share of RESOLVED, if only its moments are known, and for other losses than the square.
    """
    if not isinstance(prediction.problem.loss, Square):
        raise InputError(
            f"row_errors is for the square loss, whose answers are linear, not for {prediction.problem.loss}"
        )
    require_whole(addition=addition)
    rounds = len(prediction.problem.additions)
    require("addition", addition, 0 <= addition < rounds, f"be at least 0 and below {rounds}, the number of additions")
    errors = np.empty(prediction.test_error.shape)
    for index in np.ndindex(prediction.problem.shape):
        added = prediction.additions[(*index, addition)]
        a, c, x = (field[index] for field in (prediction.alignment, prediction.covariance, prediction.response))
        errors[index] = _row_errors(prediction.problem, added, addition, wrong, a, c, x)
    return errors


def _row_errors(
    problem: PracticeProblem, added: RoundRows, addition: int, wrong: bool, a: Array, c: Array, x: Array
) -> Array:
    """Of a loop with scalar rules and order parameters a, C, X."""
    chosen = addition + 1
    if isinstance(added, MeasuredRows):
        raise InputError(f"addition {addition} is known by its moments alone: they do not say how rows are fitted")
    stages = slice(chosen, len(a) if problem.accumulate else chosen + 1)
    view, noise, (rho, r), _ = geometry(addition, a, c, slice(None))
    flip = added.flips(problem.flip)
    t, measure, _ = nodes(float(rho), flip, added, ORDER)
    t, y = np.tile(t, 2), np.repeat([1.0, -1.0], len(t))
    keep, weight = added.select(t, y)
    keep = np.tile(measure, 2) * keep * (weight > 0) * (y * t < 0 if wrong else 1.0)
    if not np.any(keep > 0):
        raise InputError(f"addition {addition} brings no row that is wrong when added: {added}")
    t, y, keep, weight = (array[keep > 0] for array in (t, y, keep, weight))
    weight = weight[:, None, None]
    fit = x[:, stages] @ (weight * np.linalg.inv(np.eye(stages.stop - chosen) + weight * x[stages, stages]))
    unfitted = np.tile(np.eye(len(a)), (len(t), 1, 1))
    unfitted[:, :, stages] -= fit  # score = fit·y1 + unfitted·θ, (nodes, stages)
    slope = unfitted @ view
    margin = fit.sum(axis=2) + (y * t)[:, None] * slope[..., 0]  # mean of y·score at ζ = 0
    variance = np.maximum(np.einsum("jsi,ik,jsk->js", unfitted, noise, unfitted), 0.0)
    given = (rho * t, float(r), y, margin, y[:, None] * slope[..., 1], variance)
    errors, mass = _near_boundary(flip, *given) if isinstance(flip, BoundaryFlips) else _uniform(flip, *given)
    if keep @ mass < RESOLVED * keep.sum():
        raise InputError(
            f"addition {addition} brings too few rows that are wrong when added, less than {RESOLVED:g} of it"
        )
    return keep @ errors / (keep @ mass)


def _uniform(
    flip: float, drift: Array, blur: float, y: Array, margin: Array, slope: Array, variance: Array
) -> tuple[Array, Array]:
    """P(score wrong, label is y | t) (nodes, stages) and P(label is y | t) (nodes,).

    y·score = margin + slope·ζ + noise of that variance; the labeller's margin is drift + blur·ζ.
    """
    width = np.maximum(np.sqrt(slope**2 + variance), 1e-100)
    errors, mass = np.zeros(margin.shape), np.zeros(len(y))
    for agreement, chance in ((1.0, 1 - flip), (-1.0, flip)):
        label = agreement * y * drift / blur  # the row's true label is agreement·y where agreement·y·ζ > −label
        errors += chance * _bivariate_cdf(label[:, None], -margin / width, -(agreement * y)[:, None] * slope / width)
        mass += chance * ndtr(label)
    return errors, mass


def _near_boundary(
    flip: BoundaryFlips, drift: Array, blur: float, y: Array, margin: Array, slope: Array, variance: Array
) -> tuple[Array, Array]:
    """As `_uniform`, by an inner integral over ζ."""
    zeta, weights, z, starts = flip.inner(drift, blur, ORDER)
    row = np.repeat(np.arange(len(y)), np.diff(starts, append=len(z)))
    mass = weights * np.where(z * y[row] > 0, *flip.outcomes(z))
    deviation = np.maximum(np.sqrt(variance), 1e-100)
    wrong = ndtr(-(margin[row] + slope[row] * zeta[:, None]) / deviation[row])
    return np.add.reduceat(mass[:, None] * wrong, starts), np.add.reduceat(mass, starts)


def _bivariate_cdf(h: Array, k: Array, correlation: Array) -> Array:
    """P(Z1 < h, Z2 < k) of standard normals by Owen's T function (Owen 1956)."""
    h, k = (np.where(v == 0, 1e-100, np.clip(v, -40, 40)) for v in np.broadcast_arrays(h, k))
    root = np.sqrt(np.maximum((1 - correlation) * (1 + correlation), 1e-12))
    tails = owens_t(h, (k / h - correlation) / root) + owens_t(k, (h / k - correlation) / root)
    return np.maximum((ndtr(h) + ndtr(k)) / 2 - tails - (np.sign(h) * np.sign(k) < 0) / 2, 0.0)  # up to rounding
