"""The experiment of a `SpanProblem` at finite d: rows, labels, rules, weights, and a fit by a standard solver.

dp_theory.span.square and dp_theory.span.convex are held to it. Trial k draws from SeedSequence(seed, (stream, k)), as
in dp_theory.ridge.simulators.dense.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import require, whole_rows
from dp_theory.ridge.problem import Simulation
from dp_theory.ridge.simulators.dense import fit_ridge, measure
from dp_theory.ridge.simulators.trials import DENSE, check_size, generator, run_trials
from dp_theory.span.flips import draw_labels
from dp_theory.span.losses import Hinge, Loss, Square
from dp_theory.span.span_problem import Group, SpanCell, SpanProblem

if TYPE_CHECKING:
    from jaxtyping import Float

_SEPARATED = 1e-9  # a margin that is smaller, relative to the residual's scale, is rounding


def simulate_span(
    problem: SpanProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> Simulation:
    """Means and standard errors over experiments with d columns and round(ratio·d/phi) rows for each group.

    For Σ = I, d must have room for the directions; with a spectrum it is by default the number of eigenvalues. Arrays
    are simulated cell by cell with common random numbers. Raises InputError for another d, ConvergenceError where a fit
    fails.
    """
    size = problem.eigenvalues.size
    if problem.spectrum is not None:
        if d not in (None, size):
            raise InputError(f"d = {d} must be the number of eigenvalues, {size}")
        d = size
    d = check_size(d, trials)
    require("d", d, d >= size, f"be at least {size}: the directions have so many entries")
    return run_trials(span_trial, list(problem.cells()), problem.shape, d, trials, seed, workers)


def span_trial(cell: SpanCell, d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """Test error, overlap and squared norm of one experiment."""
    problem = cell.problem
    rng = generator(seed, DENSE, trial)
    n = d / cell.phi
    groups = [_draw(problem, group, d, n, rng) for group in cell.groups]
    x, y, q = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    if isinstance(cell.loss, Square):
        root = np.sqrt(q)
        w = fit_ridge(root[:, None] * x, root * y, n * cell.lam)
    else:
        w = fit_convex(x, y, q / n, cell.lam, cell.loss)
    size = problem.eigenvalues.size
    scale = np.ones(d)
    scale[:size] = np.sqrt(problem.eigenvalues)
    truth = np.pad(problem.whitened(problem.truth)[0], (0, d - size))
    return measure(scale * w, truth)


def _draw(
    problem: SpanProblem, group: Group, d: int, n: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labeller, along = problem.directions(group)
    size = labeller.size
    z = rng.standard_normal((whole_rows("ratio*d/phi", group.ratio * n), d))
    y = draw_labels(group.flip, z[:, :size] @ labeller, rng)
    keep, q = group.select(along @ z[:, :size].T, y)
    kept = (rng.random(len(z)) < keep) & (q > 0)
    x = z[kept]
    x[:, :size] *= np.sqrt(problem.eigenvalues)
    return x, y[kept], q[kept]


def fit_convex(
    x: Float[np.ndarray, "rows d"],
    y: Float[np.ndarray, " rows"],
    q: Float[np.ndarray, " rows"],
    lam: float,
    loss: Loss,
    gradient: float = 1e-6,
) -> Float[np.ndarray, " d"]:
    """The w of the least Σ q ℓ(w·x; y) + (lam/2)|w|², by scipy's trust-region Newton method with the exact Hessian.

    At lam = 0, a loss with `margin` has the `max_margin` solution where the rows are separable. Raises ConvergenceError
    where the gradient is larger than `gradient` relative to that at w = 0. scipy's own status depends on differences of
    the objective, which drown in rounding first.
    """
    from scipy.optimize import minimize

    if not len(y):  # the shortest w; scipy's non-negative least squares breaks off the process without columns
        return np.zeros(x.shape[1])
    if lam == 0 and loss.margin and (widest := max_margin(x, y)) is not None:
        return widest
    if isinstance(loss, Hinge):
        return support_vectors(x, y, q, lam, gradient)

    def value(w: np.ndarray) -> float:
        return q @ loss.value(x @ w, y) + lam / 2 * w @ w

    def slope(w: np.ndarray) -> np.ndarray:
        return x.T @ (q * loss.slope(x @ w, y)) + lam * w

    def curvature(w: np.ndarray) -> np.ndarray:
        return (x.T * (q * loss.curvature(x @ w, y))) @ x + lam * np.eye(x.shape[1])

    start = np.zeros(x.shape[1])
    allowed = gradient * np.linalg.norm(slope(start))
    options = {"gtol": allowed / 10}
    result = minimize(value, start, jac=slope, hess=curvature, method="trust-exact", options=options)
    missed = np.linalg.norm(result.jac)
    if not missed <= allowed:
        raise ConvergenceError(f"{loss} fit, (kept, d) = {x.shape}, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x


def support_vectors(
    x: Float[np.ndarray, "rows d"],
    y: Float[np.ndarray, " rows"],
    q: Float[np.ndarray, " rows"],
    lam: float,
    gap: float,
) -> Float[np.ndarray, " d"]:
    """The w of the least Σ q max(0, 1 - y w·x) + (lam/2)|w|², by its dual.

    Raises ConvergenceError where the duality gap, which bounds the distance from it, is above `gap` relative to the
    value at w = 0; InputError for lam = 0.
    """
    from scipy.optimize import minimize

    if lam == 0:
        raise InputError("lam = 0: the experiment of the hinge needs lam > 0 where the rows are not separable")
    signed = y[:, None] * x

    def dual(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        w = alpha @ signed / lam
        return lam / 2 * w @ w - alpha.sum(), signed @ w - 1

    bounds = np.column_stack([np.zeros(len(q)), q])
    options = {"maxiter": 10_000, "maxfun": 100_000, "maxcor": 50, "ftol": 0.0, "gtol": 0.0}
    found = minimize(dual, q / 2, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    w = found.x @ signed / lam
    missed = (q @ np.maximum(1 - signed @ w, 0) + lam / 2 * w @ w + found.fun) / q.sum()
    if not missed <= gap:
        raise ConvergenceError(f"hinge fit, (kept, d) = {x.shape}, lam = {lam:g}: duality gap {missed:.1e} is left")
    return w


def max_margin(x: Float[np.ndarray, "rows d"], y: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " d"] | None:
    """The shortest w with y (w·x) ≥ 1 for all rows x, or None where the rows are not separable.

    It is "least distance programming" by non-negative least squares (Lawson and Hanson 1974, chapter 23).
    """
    from scipy.optimize import nnls

    columns = np.vstack([(y[:, None] * x).T, np.ones(len(y))])
    target = np.eye(len(columns))[-1]
    residual = columns @ nnls(columns, target, maxiter=100 * len(y))[0] - target
    if not -residual[-1] > _SEPARATED:
        return None
    return residual[:-1] / -residual[-1]
