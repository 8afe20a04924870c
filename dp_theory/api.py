"""`predict` and `simulate` for every kind of problem. They pass each problem to its own package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from dp_base.errors import InputError
from dp_theory.ridge.problem import Prediction, Problem, Simulation

if TYPE_CHECKING:
    from dp_theory.multiclass.softmax_problem import SoftmaxPrediction, SoftmaxProblem, SoftmaxSimulation
    from dp_theory.practice.practice_problem import PracticePrediction, PracticeProblem, PracticeSimulation
    from dp_theory.ridge.finite import FinitePrediction
    from dp_theory.span.span_problem import SpanProblem

TRIALS = 20


@overload
def predict(problem: PracticeProblem, *, tolerance: float | None = None) -> PracticePrediction: ...
@overload
def predict(problem: SoftmaxProblem, *, tolerance: float | None = None) -> SoftmaxPrediction: ...
@overload
def predict(problem: Problem, *, d: int, tolerance: float | None = None) -> FinitePrediction: ...
@overload
def predict(problem: Problem | SpanProblem, *, tolerance: float | None = None) -> Prediction: ...
def predict(
    problem: Problem | SpanProblem | PracticeProblem | SoftmaxProblem,
    *,
    d: int | None = None,
    tolerance: float | None = None,
) -> Prediction | SoftmaxPrediction:
    """The exact limit n, d → ∞ of a problem, with a certificate of every number (see `Prediction`).

    problem: `Problem` (Theorem 1; Corollary 1 where lam = 0), `SpanProblem` (groups of rows, soft weights, labellers,
    any covariance and convex loss), `PracticeProblem` (the loop: an entry per stage on the last axis, and further
    fields, see `PracticePrediction`) or `SoftmaxProblem` (K classes: `SoftmaxPrediction`, whose numbers have standard
    errors in place of a certificate). Arrays of parameters broadcast.

    d: for a `Problem`, a finite dimension, with n = round(d/phi): means of first order in 1/d and the scatter of single
    experiments (see `FinitePrediction`).

    tolerance: the largest relative error that quadrature and iteration may leave; by default 1e-9, 1e-8 for losses
    other than the square, and 5e-3 for loops with such; with K classes the largest relative standard error of the test
    error, by default 2e-3. Conditioning, which no work mends, is in the certificate and never refused: at the ridgeless
    peak the squared norm is inf, the test error 1/2.

    Raises InputError where no row is kept and for a tolerance that is not positive, ConvergenceError where the
    tolerance is missed.
    """
    from dp_theory.numerics.checks import require_tolerance
    from dp_theory.ridge.theorem1 import predict_theorem1

    require_tolerance(tolerance)
    if d is not None:
        from dp_theory.ridge.finite import predict_finite

        if not isinstance(problem, Problem):
            raise InputError(f"d = {d} is for a Problem: a {type(problem).__name__} has no theory at finite dimension")
        return predict_finite(problem, d, tolerance=tolerance)
    if isinstance(problem, Problem):
        return predict_theorem1(problem, tolerance=tolerance)
    from dp_theory.span.span_problem import SpanProblem

    if isinstance(problem, SpanProblem):
        from dp_theory.span.convex import predict_convex
        from dp_theory.span.losses import Square
        from dp_theory.span.square import predict_square

        answer = predict_square if isinstance(problem.loss, Square) else predict_convex
        return answer(problem, tolerance=tolerance)
    from dp_theory.multiclass.softmax_problem import SoftmaxProblem

    if isinstance(problem, SoftmaxProblem):
        from dp_theory.multiclass.prediction import predict_softmax

        return predict_softmax(problem, tolerance=tolerance)
    from dp_theory.practice.prediction import predict_practice

    return predict_practice(_practice(problem), tolerance=tolerance)


@overload
def simulate(
    problem: PracticeProblem, d: int | None = None, trials: int = TRIALS, *,
    engine: str = "dense", seed: int = 0, workers: int | None = 1,
) -> PracticeSimulation: ...  # fmt: skip
@overload
def simulate(
    problem: SoftmaxProblem, d: int | None = None, trials: int = TRIALS, *,
    engine: str = "dense", seed: int = 0, workers: int | None = 1,
) -> SoftmaxSimulation: ...  # fmt: skip
@overload
def simulate(
    problem: Problem | SpanProblem, d: int | None = None, trials: int = TRIALS, *,
    engine: str = "dense", seed: int = 0, workers: int | None = 1,
) -> Simulation: ...  # fmt: skip
def simulate(
    problem: Problem | SpanProblem | PracticeProblem | SoftmaxProblem,
    d: int | None = None,
    trials: int = TRIALS,
    *,
    engine: str = "dense",
    seed: int = 0,
    workers: int | None = 1,
) -> Simulation | SoftmaxSimulation:
    """The experiment that a problem describes, in dimension d: means over independent trials with standard errors.

    d may be left out where the problem has a spectrum, which fixes it. engine: 'dense' draws every number; 'law', for
    a `Problem`, draws from exactly the same law in O(kept) operations. A problem over arrays is simulated cell by cell
    with common random numbers. Trial k of a seed is the same however many others run. workers: processes over trials;
    None is what joblib is configured to (see dp_theory.numerics.parallel). A loop answers with further fields, see
    `PracticeSimulation`.

    Raises InputError for sizes that are too small and for an engine that this kind of problem has not.
    """
    from dp_theory.numerics.checks import require_seed
    from dp_theory.ridge.simulators.engines import check_engine, simulate_problem

    check_engine(engine)
    require_seed(seed)
    if isinstance(problem, Problem):
        return simulate_problem(problem, d, trials, engine=engine, seed=seed, workers=workers)
    if engine != "dense":
        raise InputError(f"engine = '{engine}' draws a Problem only: take 'dense' for a {type(problem).__name__}")
    from dp_theory.span.span_problem import SpanProblem

    if isinstance(problem, SpanProblem):
        from dp_theory.span.experiment import simulate_span

        return simulate_span(problem, d, trials, seed=seed, workers=workers)
    from dp_theory.multiclass.softmax_problem import SoftmaxProblem

    if isinstance(problem, SoftmaxProblem):
        from dp_theory.multiclass.experiment import simulate_softmax

        return simulate_softmax(problem, d, trials, seed=seed, workers=workers)
    from dp_theory.practice.experiment import simulate_practice

    return simulate_practice(_practice(problem), d, trials, seed=seed, workers=workers)


def _practice(problem: Any) -> PracticeProblem:
    """The problem, if it is a loop. Raises InputError if it is no problem at all."""
    from dp_theory.practice.practice_problem import PracticeProblem

    if not isinstance(problem, PracticeProblem):
        raise InputError(
            f"problem = {problem!r} must be a Problem, a SpanProblem, a PracticeProblem or a SoftmaxProblem"
        )
    return problem
