"""The engines that simulate a `Problem`."""

from dp_base.errors import InputError
from dp_theory.ridge.problem import Problem, Simulation
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.dense import dense_trial, pool_size
from dp_theory.ridge.simulators.trials import LAW, check_size, generator, run_trials


def law_trial(problem: Problem, d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """One experiment with a scalar problem that has exactly the law of `dense_trial`, in O(kept + d) operations."""
    rng = generator(seed, LAW, trial)
    (outputs,) = law.trial(problem.rule, problem.rho, pool_size(problem, d), d, [problem.lam], rng)
    return tuple(outputs)


ENGINES = {"dense": dense_trial, "law": law_trial}


def check_engine(engine: str) -> None:
    """Raises InputError unless the engine is one of ENGINES."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}': one of {', '.join(ENGINES)}")


def simulate_problem(
    problem: Problem, d: int | None, trials: int, *, engine: str, seed: int, workers: int | None
) -> Simulation:
    """Means and standard errors over independent experiments in dimension d with n = round(d/phi) pool rows, cell by
    cell with common random numbers.
    """
    d = check_size(d, trials)
    cells = list(problem.cells())
    for cell in cells:
        pool_size(cell, d)  # refuses sizes before anything is drawn
    return run_trials(ENGINES[engine], cells, problem.shape, d, trials, seed, workers)
