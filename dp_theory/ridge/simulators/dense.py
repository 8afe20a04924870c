"""The experiment itself at finite d, as the paper describes it, and the choice between it and its exact law.

w_s = e_1 and w0 = rho·e_1 + √(1 - rho²)·e_2, by rotation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    MAX_D,
    MAX_TRIALS,
    Array,
    Float,
    Real,
    require,
    require_memory,
    require_one_of,
    require_size,
    require_whole,
    sine_of,
    whole_rows,
)
from dp_theory.numerics.parallel import run_jobs
from dp_theory.outcomes import QUANTITIES, Simulation
from dp_theory.ridge.simulators import law
from dp_theory.rules import Direct
from dp_theory.rules.base import probability_of

if TYPE_CHECKING:
    from dp_theory.multiclass.softmax_problem import SoftmaxProblem
    from dp_theory.ridge.problem import Problem

# Streams of random numbers: experiments with the same seed and different streams are independent.
DENSE = 0
LAW = 1


def generator(seed: int, stream: int, *key: int) -> np.random.Generator:
    """The random numbers depend on seed, stream and key (trial, …) alone."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(stream, *key))))


def mean_and_se(samples: Float[Array, "*shape"], axis: int) -> tuple[Real, Real]:
    """The error is inf for a single trial."""
    trials = samples.shape[axis]
    mean = samples.mean(axis)
    if trials == 1:
        return mean, np.full(mean.shape, np.inf)
    # scipy.stats.sem gives the same, but takes longer to import (0.4 s) than all else that `dp theory simulate` imports
    return mean, samples.std(axis, ddof=1) / np.sqrt(trials)


def averaged(names: Sequence[str], runs: Array, axis: int = -2) -> dict[str, Real]:
    """Means over the runs, NAME, and their errors, NAME_se; what has the names lies on the axis after that of runs."""
    statistics = {}
    for suffix, values in zip(("", "_se"), mean_and_se(runs, axis), strict=True):
        statistics |= {
            name + suffix: value[()] for name, value in zip(names, np.moveaxis(values, axis + 1, 0), strict=True)
        }
    return statistics


def check_size(d: int | None, trials: int) -> int:
    """d as an int, if d and trials are whole and fit."""
    if d is None:
        raise InputError("d is missing: give the dimension of the experiment")
    require_whole(d=d, trials=trials)
    require_size("d", d, 1, MAX_D, "it is the dimension")
    require_size("trials", trials, 1, MAX_TRIALS, "it is the number of experiments")
    return int(d)


def dense_trial(problem: "Problem", d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """One experiment, every number drawn, in O(n·d·min(n, d)) operations."""
    rng = generator(seed, DENSE, trial)
    n = pool_size(problem, d)
    x = rng.standard_normal((n, d))
    if isinstance(problem.rule, Direct):
        x[:, 0] = problem.rule.draw(rng, n)
    else:
        x = x[rng.random(n) < probability_of(problem.rule, x[:, 0])]
    w0 = np.zeros(d)
    w0[:2] = (problem.rho, sine_of(problem.rho))[:d]
    y = np.where(x[:, :2] @ w0[:2] >= 0, 1.0, -1.0)
    return measure(fit_ridge(x, y, n * problem.lam), w0)


def pool_size(problem: "Problem | SoftmaxProblem", d: int) -> int:
    """n = round(d/phi), the rows of the pool."""
    n = whole_rows("d/phi", d / problem.phi)
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")
    require("d", d, d > 1 or abs(problem.rho) == 1, f"be at least 2 at rho = {problem.rho:g}: w0 lies off w_s")
    return n


def fit_ridge(x: Float[Array, "kept d"], y: Float[Array, " kept"], penalty: float) -> Float[Array, " d"]:
    """The w of the least Σ (w·x_i - y_i)² + penalty·|w|², of least norm at penalty 0."""
    kept, d = x.shape
    if kept == 0:
        return np.zeros(d)
    if penalty == 0:
        return np.linalg.lstsq(x, y)[0]
    require_memory(x.size + 3 * min(kept, d) ** 2, "a smaller d, or the engine law")
    if kept < d:
        return x.T @ solve(x @ x.T + penalty * np.eye(kept), y, assume_a="pos")
    return solve(x.T @ x + penalty * np.eye(d), x.T @ y, assume_a="pos")


def measure(w: Float[Array, " d"], w0: Float[Array, " d"]) -> tuple[float, float, float]:
    """Test error, overlap and squared norm; w = 0 answers at random, with test error 1/2."""
    overlap, squared_norm = float(w @ w0), float(w @ w)
    if squared_norm == 0:
        return 0.5, 0.0, 0.0
    across = np.linalg.norm(w - overlap * w0)  # without cancellation
    return float(np.arctan2(across, overlap) / np.pi), overlap, squared_norm


def law_trial(problem: "Problem", d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """One experiment, exact in law."""
    rng = generator(seed, LAW, trial)
    return tuple(law.trial(problem.rule, problem.rho, pool_size(problem, d), d, problem.lam, rng)[0])


ENGINES = {"dense": dense_trial, "law": law_trial}


def check_engine(engine: str) -> None:
    """The engine must be one of ENGINES."""
    require_one_of("engine", engine, ENGINES)


def simulate_problem(
    problem: "Problem", d: int | None, trials: int, engine: str, seed: int, workers: int | None
) -> Simulation:
    """Means over trials, cell by cell; all cells share their random numbers."""
    d = check_size(d, trials)
    cells = list(problem.cells())
    for cell in cells:
        n = pool_size(cell, d)  # refuses sizes before anything is drawn
        if engine == "dense":
            require_memory(n * d, "a smaller d, a larger phi, or the engine law")
    jobs = [(cell, d, seed, k) for cell in cells for k in range(trials)]
    runs = np.reshape(run_jobs(ENGINES[engine], jobs, workers), (*problem.shape, trials, 3))
    return Simulation(**averaged(QUANTITIES, runs), d=d, trials=trials, seed=seed)
