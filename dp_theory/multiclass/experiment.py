"""The experiment of a `SoftmaxProblem` at finite d, fitted by a standard solver.

By rotation invariance scores are Bᵀx of the first coordinates, with B the Helmert matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import helmert

from dp_base.errors import ConvergenceError
from dp_theory.numerics.checks import Array, Float, Int, require, require_memory
from dp_theory.numerics.parallel import run_jobs
from dp_theory.numerics.quadrature import sine_of
from dp_theory.outcomes import SOFTMAX_QUANTITIES, SoftmaxSimulation
from dp_theory.ridge.simulators.dense import DENSE, averaged, check_size, generator, pool_size

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from dp_theory.multiclass.softmax_problem import SoftmaxProblem

TEST_ROWS = 20_000  # drawn in each trial for the two errors
FIT = 2e-3  # largest relative error of the weights: far below their scatter
_LEAST_VARIANCE = 1e-12  # relative: added to the covariance of scores, which may be singular


def simulate_softmax(
    problem: SoftmaxProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> SoftmaxSimulation:
    """All cells share their random numbers."""
    d = check_size(d, trials)
    room = 2 * (problem.classes - 1)
    require("d", d, d >= room, f"be at least {room}: teacher and selector have so many directions")
    jobs = [(cell, d, seed, trial) for cell in problem.cells() for trial in range(trials)]
    results = np.reshape(run_jobs(softmax_trial, jobs, workers), (*problem.shape, trials, 4))
    return SoftmaxSimulation(**averaged(SOFTMAX_QUANTITIES, results), d=d, trials=trials, seed=seed)


def softmax_trial(problem: SoftmaxProblem, d: int, seed: int, trial: int) -> tuple[float, ...]:
    """One experiment with a scalar problem: SOFTMAX_QUANTITIES."""
    rng = generator(seed, DENSE, trial)
    n = pool_size(problem, d)
    require_memory(n, d, "a smaller d or a larger phi")
    k = problem.classes
    rho = problem.rho
    simplex = helmert(k)
    x = rng.standard_normal((n, d))
    teacher = x[:, : k - 1] @ simplex
    other = x[:, k - 1 : 2 * k - 2] @ simplex
    selector = rho * teacher + sine_of(rho) * other
    kept = rng.random(n) < problem.selection.keep_probability(selector)
    if not kept.any():  # W = 0 answers at random
        return 1 - 1 / k, np.log(k), 0.0, 0.0
    w = _fit(x[kept], np.argmax(teacher[kept], axis=1), k, n, problem.lam)
    within = w[:, : k - 1]  # along the teacher
    beyond = w[:, k - 1 :]
    t = rng.standard_normal((TEST_ROWS, k - 1))
    root = np.linalg.cholesky(beyond @ beyond.T + _LEAST_VARIANCE * np.eye(k) * (w * w).sum())
    scores = t @ within.T + rng.standard_normal((TEST_ROWS, k)) @ root.T
    y = np.argmax(t @ simplex, axis=1)
    losses = np.logaddexp.reduce(scores, axis=1) - np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    overlap = np.sum(within * simplex.T) / (k - 1)
    return (scores.argmax(1) != y).mean(), losses.mean(), overlap, (w * w).sum() / (k - 1)


def _fit(
    x: Float[Array, "kept d"], y: Int[np.ndarray, " kept"], classes: int, n: int, lam: float
) -> Float[Array, "classes d"]:
    """L-BFGS is off by ‖gradient‖/lam at most."""
    from scipy.optimize import minimize

    one_hot = (y[:, None] == np.arange(classes)).astype(float)
    gradient = np.empty(0)  # at the last call of the objective

    def objective(flat: Float[Array, " weights"]) -> tuple[float, Float[Array, " weights"]]:
        nonlocal gradient
        w = flat.reshape(classes, -1)
        scores = x @ w.T
        ahead = scores - np.sum(one_hot * scores, axis=1, keepdims=True)
        losses = np.logaddexp.reduce(ahead, axis=1)
        gradient = ((np.exp(ahead - losses[:, None]) - one_hot).T @ x / n + lam * w).ravel()
        return losses.sum() / n + lam / 2 * flat @ flat, gradient

    def stop_when_near(intermediate_result: OptimizeResult) -> None:
        if np.linalg.norm(gradient) <= FIT / 2 * lam * np.linalg.norm(intermediate_result.x):
            raise StopIteration

    result = minimize(
        objective,
        np.zeros(classes * x.shape[1]),
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_near,
        options={"maxcor": 20, "maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 0.0},
    )
    missed = np.linalg.norm(objective(result.x)[1]) / (lam * np.linalg.norm(result.x))
    if not missed <= FIT:
        raise ConvergenceError(f"softmax fit, (kept, d) = {x.shape}, lam = {lam:g}: W is certain to {missed:.1e} only")
    return result.x.reshape(classes, -1)
