"""The experiment itself at finite d, as the paper describes it: the reference for theory and for faster simulators.

By rotation invariance w_s = e_1 and w0 = rho·e_1 + √(1 - rho²)·e_2. Trial k draws from SeedSequence(seed, (stream, k)),
so a trial depends neither on how many others run nor on which process runs it.
"""

import numpy as np
from scipy.linalg import solve

from dp_theory.parallel import run_jobs
from dp_theory.problem import Problem, Simulation
from dp_theory.rules import Direct
from dp_theory.simulators import law
from dp_theory.simulators.trials import DENSE, LAW, check_engine, check_size, generator, mean_and_se, pool_size


def simulate(
    problem: Problem, d: int, trials: int, *, engine: str = "dense", seed: int = 0, workers: int | None = 1
) -> Simulation:
    """Mean and standard error over `trials` independent experiments in dimension d, n = round(d/phi) pool rows.

    engine: 'dense' is the naive transcription, O(n·d·min(n, d)); 'law' draws from exactly the same law in O(kept).
    A problem over arrays is simulated cell by cell with common random numbers. workers: processes
    over trials (see dp_theory.parallel). Raises InputError where d or trials < 1, or where the pool would be empty.
    """
    check_size(d, trials)
    check_engine(engine)
    cells = list(problem.cells())
    for cell in cells:
        pool_size(cell, d)
    draw = dense_trial if engine == "dense" else law_trial
    results = run_jobs(draw, [(cell, d, seed, trial) for cell in cells for trial in range(trials)], workers)
    mean, se = mean_and_se(np.reshape(results, (*problem.shape, trials, 3)), axis=-2)
    columns = [x[..., i][()] for i in range(3) for x in (mean, se)]
    return Simulation(*columns, d=d, trials=trials, seed=seed)


def dense_trial(problem: Problem, d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """One experiment, naively: draw the pool, select, fit, measure (test_error, overlap, squared_norm)."""
    rng = generator(seed, DENSE, trial)
    n = pool_size(problem, d)
    x = rng.standard_normal((n, d))
    if isinstance(problem.rule, Direct):
        x[:, 0] = problem.rule.draw(rng, n)
    else:
        x = x[rng.random(n) < problem.rule.keep_probability(x[:, 0])]
    w0 = truth(problem.rho, d)
    return measure(fit_ridge(x, labels(x, w0), n * problem.lam), w0)


def law_trial(problem: Problem, d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """One experiment with exactly the law of `dense_trial`, in O(kept) (see dp_theory.law)."""
    rng = generator(seed, LAW, trial)
    return tuple(law.trial(problem.rule, problem.rho, pool_size(problem, d), d, [problem.lam], rng)[0])


def truth(rho: float, d: int) -> np.ndarray:
    """w0, of unit length, in coordinates where w_s = e_1."""
    w0 = np.zeros(d)
    w0[:2] = (rho, np.sqrt((1 - rho) * (1 + rho)))[:d]
    return w0


def labels(x: np.ndarray, w0: np.ndarray) -> np.ndarray:
    return np.where(x[:, :2] @ w0[:2] >= 0, 1.0, -1.0)


def fit_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """argmin Σ (w·x_i - y_i)² + penalty·|w|², x of shape (kept, d); penalty 0 gives the solution of least norm."""
    kept, d = x.shape
    if kept == 0:
        return np.zeros(d)
    if penalty == 0:
        return np.linalg.lstsq(x, y)[0]
    if kept < d:
        return x.T @ solve(x @ x.T + penalty * np.eye(kept), y, assume_a="pos")
    return solve(x.T @ x + penalty * np.eye(d), x.T @ y, assume_a="pos")


def measure(w: np.ndarray, w0: np.ndarray) -> tuple[float, float, float]:
    """(test_error, overlap, squared_norm) of w against the unit vector w0; w = 0 answers at random, error 1/2."""
    return tuple(outputs(w @ w0, w @ w))


def outputs(overlap: np.ndarray, squared_norm: np.ndarray) -> np.ndarray:
    """Test error, overlap, squared norm, stacked on the last axis."""
    across = np.sqrt(np.maximum(squared_norm - overlap**2, 0))
    angle = np.where(squared_norm > 0, np.arctan2(across, overlap), np.pi / 2)
    return np.stack([angle / np.pi, overlap, squared_norm], axis=-1)
