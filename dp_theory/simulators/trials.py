"""What every experiment needs: streams of random numbers, sizes that make sense, means with standard errors."""

import numpy as np

from dp_base.errors import InputError
from dp_theory.checks import require
from dp_theory.problem import Problem

ENGINES = ("dense", "law")
DENSE, LAW, CURVES = range(3)  # streams of random numbers


def generator(seed: int, stream: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(stream, *key))))


def mean_and_se(samples: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trials and its standard error, inf where one trial says nothing about it."""
    trials = samples.shape[axis]
    mean = samples.mean(axis)
    return mean, samples.std(axis, ddof=1) / np.sqrt(trials) if trials > 1 else np.full(mean.shape, np.inf)


def check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}': one of {', '.join(ENGINES)}")


def check_size(d: int, trials: int) -> None:
    require("d", d, d >= 1, "be at least 1: it is the dimension")
    require("trials", trials, trials >= 1, "be at least 1")


def pool_size(problem: Problem, d: int) -> int:
    """n = round(d/phi), refused where the pool is empty or d has no room for w0."""
    n = round(d / problem.phi)
    require("phi", problem.phi, n >= 1, f"be below {2 * d} at d = {d}: the pool would be empty")
    require("d", d, d > 1 or abs(problem.rho) == 1, f"be at least 2 at rho = {problem.rho:g}: w0 lies off w_s")
    return n
