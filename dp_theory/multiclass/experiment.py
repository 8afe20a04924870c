"""The experiment of a `SoftmaxProblem` at finite d: rows, classes, selection, and a fit by a standard solver.

By rotation invariance the teacher's scores are Bᵀx of the first K − 1 coordinates, with B the Helmert matrix, and the
selector's further part is the same of the next K − 1. Trial k draws from SeedSequence(seed, (stream, k)).
"""

import numpy as np
from scipy.linalg import helmert

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array, require
from dp_theory.multiclass.problem import SoftmaxProblem, SoftmaxSimulation
from dp_theory.parallel import run_jobs
from dp_theory.simulators.trials import DENSE, check_size, generator, mean_and_se

TEST_ROWS = 20_000  # drawn in each trial for the two errors


def simulate_softmax(
    problem: SoftmaxProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> SoftmaxSimulation:
    """Means and standard errors over `trials` experiments with d columns and a pool of round(d/phi) rows.

    Arrays are simulated cell by cell with common random numbers. Raises InputError for a d without room for teacher and
    selector, ConvergenceError where the fit fails.
    """
    d = check_size(d, trials)
    room = 2 * (problem.classes - 1)
    require("d", d, d >= room, f"be at least {room}: teacher and selector have so many directions")
    jobs = [(cell, d, seed, trial) for cell in problem.cells() for trial in range(trials)]
    results = np.reshape(run_jobs(softmax_trial, jobs, workers), (*problem.shape, trials, 4))
    mean, se = mean_and_se(results, axis=-2)
    return SoftmaxSimulation(*(x[..., i][()] for i in range(4) for x in (mean, se)), d=d, trials=trials, seed=seed)


def softmax_trial(problem: SoftmaxProblem, d: int, seed: int, trial: int) -> tuple[float, float, float, float]:
    """(test_error, cross_entropy, overlap, squared_norm) of one experiment with a scalar problem."""
    rng = generator(seed, DENSE, trial)
    n = round(d / problem.phi)
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")
    k, rho, simplex = problem.classes, problem.rho, helmert(problem.classes)
    x = rng.standard_normal((n, d))
    teacher, other = x[:, : k - 1] @ simplex, x[:, k - 1 : 2 * k - 2] @ simplex
    kept = rng.random(n) < problem.selection.keep_probability(rho * teacher + np.sqrt((1 - rho) * (1 + rho)) * other)
    w = _fit(x[kept], np.argmax(teacher[kept], axis=1), k, n, problem.lam)
    within, beyond = w[:, : k - 1], w[:, k - 1 :]
    t = rng.standard_normal((TEST_ROWS, k - 1))
    root = np.linalg.cholesky(beyond @ beyond.T + 1e-12 * np.eye(k) * (w * w).sum())
    scores = t @ within.T + rng.standard_normal((TEST_ROWS, k)) @ root.T
    y = np.argmax(t @ simplex, axis=1)
    losses = np.logaddexp.reduce(scores, axis=1) - np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    overlap = np.sum(within * simplex.T) / (k - 1)
    return (scores.argmax(1) != y).mean(), losses.mean(), overlap, (w * w).sum() / (k - 1)


def _fit(x: Array, y: Array, classes: int, n: int, lam: float, gradient: float = 1e-6) -> Array:
    """argmin (1/n) Σ cross-entropy of softmax(Wx) + (lam/2) ‖W‖²: W (classes, d), by scipy's L-BFGS.

    Judged by the norm of the gradient, relative to that at W = 0.
    """
    from scipy.optimize import minimize

    one_hot = (y[:, None] == np.arange(classes)).astype(float)

    def objective(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(classes, -1)
        scores = x @ w.T
        losses = np.logaddexp.reduce(scores, axis=1)
        p = np.exp(scores - losses[:, None])
        value = (losses.sum() - np.vdot(one_hot, scores)) / n + lam / 2 * flat @ flat
        return value, ((p - one_hot).T @ x / n + lam * w).ravel()

    start = np.zeros(classes * x.shape[1])
    allowed = gradient * np.linalg.norm(objective(start)[1])
    options = {"maxcor": 20, "maxiter": 10_000, "maxfun": 20_000, "ftol": 0.0, "gtol": allowed / np.sqrt(start.size)}
    result = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    missed = np.linalg.norm(result.jac)
    if not missed <= allowed:
        raise ConvergenceError(f"softmax fit, (kept, d) = {x.shape}, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x.reshape(classes, -1)
