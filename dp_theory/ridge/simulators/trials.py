"""What every experiment needs: streams of random numbers, sizes that make sense, means with standard errors."""

from collections.abc import Callable, Sequence

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import LARGEST_D, MOST_TRIALS, require_size, require_whole
from dp_theory.numerics.parallel import run_jobs
from dp_theory.ridge.problem import Simulation

DENSE, LAW, CURVES = range(3)  # streams of random numbers


def generator(seed: int, stream: int, *key: int) -> np.random.Generator:
    """The generator of one trial: a function of the seed, the stream and the key (trial, …), of nothing else."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(stream, *key))))


def run_trials(
    trial: Callable[..., tuple[float, float, float]],
    cells: Sequence,
    shape: tuple[int, ...],
    d: int,
    trials: int,
    seed: int,
    workers: int | None,
) -> Simulation:
    """Means over trials of trial(cell, d, seed, k) -> (test_error, overlap, squared_norm), for cells in C order.

    Cells share their random numbers. workers: processes, as in dp_theory.numerics.parallel.
    """
    results = run_jobs(trial, [(cell, d, seed, k) for cell in cells for k in range(trials)], workers)
    mean, se = mean_and_se(np.reshape(results, (*shape, trials, 3)), axis=-2)
    columns = [x[..., i][()] for i in range(3) for x in (mean, se)]
    return Simulation(*columns, d=d, trials=trials, seed=seed)


def mean_and_se(samples: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trials and its standard error, inf where one trial says nothing about it."""
    trials = samples.shape[axis]
    mean = samples.mean(axis)
    if trials == 1:
        return mean, np.full(mean.shape, np.inf)
    # scipy.stats.sem gives the same, but takes longer to import (0.4 s) than all else that `dp theory simulate` imports
    return mean, samples.std(axis, ddof=1) / np.sqrt(trials)


def check_size(d: int | None, trials: int) -> int:
    """d, if it is there and both numbers are at least 1 and possible. Raises InputError otherwise."""
    if d is None:
        raise InputError("d is missing: give the dimension of the experiment")
    require_whole(d=d, trials=trials)
    require_size("d", d, 1, LARGEST_D, "it is the dimension")
    require_size("trials", trials, 1, MOST_TRIALS, "it is the number of experiments")
    return d
