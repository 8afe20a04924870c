"""Multinomial logistic regression on rows that a selector of K classes chose, and its experiment at finite d.

By rotation invariance scores there are Bᵀx of the first coordinates, with B the Helmert matrix.

Rows are x ~ N(0, I_d), of class argmax W* x; of the K directions of teacher W* and selector W_s only differences count.
ρ is the cosine of a selector's direction with the teacher's of the same class. The learner is Ŵ = argmin (1/n) Σ ℓ(W
x_i; y_i) + (λ/2) ‖W‖² over kept rows, with the cross-entropy ℓ in nats; n counts all rows of the pool, φ = d/n. Rows
are separable, so that λ must be positive. The test error is P(argmax Ŵx ≠ argmax W*x), the overlap ⟨Ŵ, W*⟩/(K - 1) with
W* centred, the squared norm ‖Ŵ‖²/(K - 1). Two classes are logistic regression with ridge λ/2.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert
from scipy.optimize import OptimizeResult, minimize

from dp_base.errors import ConvergenceError
from dp_theory.multiclass.prediction import predict_softmax
from dp_theory.multiclass.selection import Selection, require_classes
from dp_theory.numerics.checks import (
    Array,
    clipped,
    require,
    require_in,
    require_kind,
    require_memory,
    require_positive,
    set_numbers,
    sine_of,
)
from dp_theory.numerics.parallel import run_jobs
from dp_theory.outcomes import SOFTMAX_QUANTITIES, SoftmaxPrediction, SoftmaxSimulation
from dp_theory.ridge.problem import AnyProblem, Experiments
from dp_theory.ridge.simulators.dense import DENSE, averaged, check_size, generator, pool_size

# Drawn in each trial for the two errors.
TEST_ROWS = 20_000
# Largest relative error of the weights: far below their scatter.
FIT = 2e-3
# Relative: added to the covariance of scores, which may be singular.
_MIN_VARIANCE = 1e-12


@dataclass(frozen=True)
class SoftmaxProblem(AnyProblem):
    """Softmax regression on the rows that a selection keeps.

    Parameters
    ----------
    classes
        Number of classes K, from 2 to 100.
    selection
        Which rows are kept, as by `make_selection`.
    rho
        The cosine ρ of a selector's direction with the teacher's of the same class, in [-1, 1].
    phi, lam
        The ratio φ = d/n and the ridge λ, both positive.

    Raises
    ------
    InputError
        For parameters outside their domain.
    """

    classes: int
    selection: Selection
    rho: float
    phi: float
    lam: float

    def __post_init__(self) -> None:
        require_classes(self.classes)
        require_kind("selection", self.selection, Selection, "a selection of K classes: see make_selection")
        require("classes", self.classes, self.selection.classes in (None, self.classes), "be the selection's")
        set_numbers(self, "rho", "phi", "lam")
        require_in("[-1, 1]", "it is the cosine of selector and teacher", rho=self.rho)
        object.__setattr__(self, "rho", clipped(self.rho))
        require_positive("it is d/n, n the size of the pool", phi=self.phi)
        require_positive("without ridge the weights run away", lam=self.lam)

    def solve(self, tolerance: float | None) -> SoftmaxPrediction:
        return predict_softmax(self, tolerance=tolerance)

    def draw(self, experiments: Experiments) -> SoftmaxSimulation:
        d, trials, _, seed, workers = experiments
        d = check_size(d, trials)
        room = 2 * (self.classes - 1)
        require("d", d, d >= room, f"be at least {room}: teacher and selector have so many directions")
        results = run_jobs(softmax_trial, [(self, d, seed, trial) for trial in range(trials)], workers)
        return SoftmaxSimulation(**averaged(SOFTMAX_QUANTITIES, np.array(results)), d=d, trials=trials, seed=seed)


# -- the experiment ----------------------------------------------------------------------------------------------------


def softmax_trial(problem: SoftmaxProblem, d: int, seed: int, trial: int) -> tuple[float, ...]:
    """One experiment: SOFTMAX_QUANTITIES."""
    rng = generator(seed, DENSE, trial)
    n = pool_size(problem, d)
    require_memory(n * d, "a smaller d or a larger phi")
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
    root = np.linalg.cholesky(beyond @ beyond.T + _MIN_VARIANCE * np.eye(k) * (w * w).sum())
    scores = t @ within.T + rng.standard_normal((TEST_ROWS, k)) @ root.T
    y = np.argmax(t @ simplex, axis=1)
    losses = np.logaddexp.reduce(scores, axis=1) - np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    overlap = np.sum(within * simplex.T) / (k - 1)
    return (scores.argmax(1) != y).mean(), losses.mean(), overlap, (w * w).sum() / (k - 1)


def _fit(x: Array, y: np.ndarray, classes: int, n: int, lam: float) -> Array:
    """L-BFGS is off by ‖gradient‖/lam at most."""
    one_hot = (y[:, None] == np.arange(classes)).astype(float)
    gradient = np.empty(0)  # at the last call of the objective

    def objective(flat: Array) -> tuple[float, Array]:
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
