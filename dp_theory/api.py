"""`predict` and `simulate` for every kind of problem."""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import require_kind, require_seed, require_tolerance
from dp_theory.ridge.problem import AnyProblem, Experiments, Problem

if TYPE_CHECKING:
    from dp_theory.ridge.finite_dimension import FinitePrediction

TRIALS = 20
_KINDS = "a Problem, a SpanProblem, a PracticeProblem or a SoftmaxProblem"
Answer = TypeVar("Answer", covariant=True)


class Solvable(Protocol[Answer]):
    """A problem that theory answers."""

    def solve(self, tolerance: float | None) -> Answer: ...


class Drawable(Protocol[Answer]):
    """A problem that experiments answer."""

    engines: ClassVar[tuple[str, ...]]

    def draw(self, experiments: Experiments) -> Answer: ...


@overload
def predict(problem: Problem, *, d: int, tolerance: float | None = None) -> "FinitePrediction": ...
@overload
def predict(problem: Solvable[Answer], *, d: None = None, tolerance: float | None = None) -> Answer: ...
def predict(problem: Any, *, d: int | None = None, tolerance: float | None = None) -> Any:
    """The limit n, d → ∞ of a problem, with a certificate of every number.

    Parameters
    ----------
    problem
        - `Problem`: Theorem 1, and Corollary 1 where lam = 0. All parameters may be arrays, which broadcast.
        - `SpanProblem`: groups of rows, soft weights, labellers, any covariance and convex loss.
        - `PracticeProblem`: the loop.
        - `SoftmaxProblem`: K classes.
    d
        A finite dimension for a `Problem`, 3 or more, with n = round(d/phi) pool rows. The answer then has means to
        first order in 1/d and the scatter of single experiments.
    tolerance
        The largest relative error that quadrature and iteration may leave, by default 1e-9; 1e-8 for losses other than
        the square, and 5e-3 for loops with such losses. With K classes it is the largest relative standard error of the
        test error, by default 2e-3. What misses it is refused.

    Returns
    -------
    Prediction
        Floats, or arrays of the shape of a `Problem`: a `FinitePrediction` where d is given; for a loop a
        `PracticePrediction`, with an entry for each stage; for K classes a `SoftmaxPrediction`, with standard errors in
        place of a certificate.

        What conditioning makes of rounding is certified but not refused, unless a tolerance is given and the
        certificate is not finite: at the ridgeless peak the squared norm is inf, and the test error 1/2.

    Raises
    ------
    InputError
        For what is no problem, where no row is kept, for a tolerance that is not positive, and for a d with another
        kind of problem, without a pool row, or at the ridgeless peak.
    ConvergenceError
        Where the tolerance is missed.

    Examples
    --------
    >>> from dp_theory import KeepEasy, Problem, predict
    >>> problem = Problem(KeepEasy(0.5), rho=0.9, phi=[0.2, 0.4], lam=0.01)
    >>> predict(problem).test_error.round(4).tolist()
    [0.1565, 0.2337]
    >>> predict(problem, d=400).test_error_sd.round(4).tolist()
    [0.006, 0.0109]
    """
    require_tolerance(tolerance)
    require_kind("problem", problem, AnyProblem, _KINDS)
    answer = problem.solve(tolerance) if d is None else problem.solve_at(d, tolerance)
    if tolerance is not None and not np.isfinite(getattr(answer, "certificate", 0.0)).all():
        raise ConvergenceError(f"a certificate is not finite: tolerance = {tolerance:g} cannot be promised")
    return answer


def simulate(
    problem: Drawable[Answer],
    d: int | None = None,
    trials: int = TRIALS,
    *,
    engine: str = "dense",
    seed: int = 0,
    workers: int | None = 1,
) -> Answer:
    """The experiment that a problem describes, in dimension d: means over independent trials with standard errors.

    Trial k of a seed is the same however many others run.

    Parameters
    ----------
    problem
        Of any kind that `predict` takes. The cells of a `Problem` share their random numbers.
    d
        The dimension, up to 1e8. It may be left out where the problem has a spectrum, which fixes it.
    trials
        Independent experiments, up to 1e6. A single one has infinite standard errors.
    engine
        "dense" draws every number. "law", for a `Problem`, draws from exactly the same law in O(kept) operations.
    seed
        Of all random numbers, at least 0.
    workers
        Processes over trials; -1 is all cores. None is what joblib is configured to (dp_theory.numerics.parallel).

    Returns
    -------
    Simulation
        Floats, or arrays of the shape of a `Problem`, or with an entry for each stage of a loop; a `SoftmaxSimulation`
        for K classes.

    Raises
    ------
    InputError
        For what is no problem, for sizes that are too small or too large, for an engine that this kind of problem does
        not have, and for rows that are known by their moments alone.
    MissingError
        Where the experiment does not fit into memory.
    ConvergenceError
        Where a fit under another loss than the square misses its minimum.

    Examples
    --------
    >>> from dp_theory import KeepHard, Problem, simulate
    >>> runs = simulate(Problem(KeepHard(0.5), rho=0.9, phi=0.5, lam=0.01), d=50, trials=4)
    >>> runs.trials, bool(runs.test_error_se > 0)
    (4, True)
    """
    from dp_theory.ridge.simulators.dense import check_engine

    check_engine(engine)
    require_seed(seed)
    require_kind("problem", problem, AnyProblem, _KINDS)
    if engine not in problem.engines:
        raise InputError(f"engine = '{engine}' draws a Problem only: take 'dense' for a {type(problem).__name__}")
    return problem.draw(Experiments(d, trials, engine, seed, workers))
