"""What every experiment needs: streams of random numbers, sizes that make sense, and means with standard errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import LARGEST_D, MOST_TRIALS, Real, require_size, require_whole
from dp_theory.numerics.parallel import run_jobs
from dp_theory.ridge.outcomes import Simulation

if TYPE_CHECKING:
    from jaxtyping import Float

# Streams of random numbers: experiments with the same seed and different streams are independent.
DENSE = 0
LAW = 1
CURVES = 2


def generator(seed: int, stream: int, *key: int) -> np.random.Generator:
    """The random numbers depend on seed, stream and key (trial, …) alone."""
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
    """Means over trials, trial(cell, d, seed, k), of cells that share their random numbers."""
    jobs = [(cell, d, seed, k) for cell in cells for k in range(trials)]
    results = np.reshape(run_jobs(trial, jobs, workers), (*shape, trials, 3))
    mean, se = mean_and_se(results, axis=-2)
    return Simulation(
        test_error=mean[..., 0][()],
        test_error_se=se[..., 0][()],
        overlap=mean[..., 1][()],
        overlap_se=se[..., 1][()],
        squared_norm=mean[..., 2][()],
        squared_norm_se=se[..., 2][()],
        d=d,
        trials=trials,
        seed=seed,
    )


def mean_and_se(samples: Float[np.ndarray, "*shape"], axis: int) -> tuple[Real, Real]:
    """The error is inf for a single trial."""
    trials = samples.shape[axis]
    mean = samples.mean(axis)
    if trials == 1:
        return mean, np.full(mean.shape, np.inf)
    # scipy.stats.sem gives the same, but takes longer to import (0.4 s) than all else that `dp theory simulate` imports
    return mean, samples.std(axis, ddof=1) / np.sqrt(trials)


def check_size(d: int | None, trials: int) -> int:
    """d, if d and trials are whole and fit."""
    if d is None:
        raise InputError("d is missing: give the dimension of the experiment")
    require_whole(d=d, trials=trials)
    require_size("d", d, 1, LARGEST_D, "it is the dimension")
    require_size("trials", trials, 1, MOST_TRIALS, "it is the number of experiments")
    return d
