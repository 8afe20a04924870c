"""The experiment of a `SpanProblem` at finite d: rows, labels, rules, weights, and a fit by a standard solver.

The reference that dp_theory.span.square and dp_theory.span.convex are held to. Trial k draws from
SeedSequence(seed, (stream, k)) as in dp_theory.ridge.simulators.dense.
"""

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array, require, whole_rows
from dp_theory.ridge.problem import Simulation
from dp_theory.ridge.simulators.dense import fit_ridge, measure
from dp_theory.ridge.simulators.trials import DENSE, check_size, generator, run_trials
from dp_theory.span.flips import draw_labels
from dp_theory.span.losses import Loss, Square
from dp_theory.span.span_problem import Group, SpanProblem


def simulate_span(
    problem: SpanProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> Simulation:
    """Means and standard errors over `trials` experiments with d columns and round(ratio · d/phi) rows per group.

    d: for Σ = I any dimension with room for the directions; with a spectrum the number of eigenvalues, which is then
    the default. Arrays are simulated cell by cell with common random numbers. Raises InputError for another d, and
    ConvergenceError where the fit fails.
    """
    size = problem.eigenvalues.size
    if problem.spectrum is not None:
        if d not in (None, size):
            raise InputError(f"d = {d} must be the number of eigenvalues, {size}")
        d = size
    d = check_size(d, trials)
    require("d", d, d >= size, f"be at least {size}: the directions have so many entries")
    return run_trials(span_trial, list(problem.cells()), problem.shape, d, trials, seed, workers)


def span_trial(problem: SpanProblem, d: int, seed: int, trial: int) -> tuple[float, float, float]:
    """(test_error, overlap, squared_norm) of one experiment with a scalar problem."""
    rng = generator(seed, DENSE, trial)
    n = d / problem.phi
    groups = [_draw(problem, group, d, n, rng) for group in problem.groups]
    x, y, q = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    if isinstance(problem.loss, Square):
        root = np.sqrt(q)
        w = fit_ridge(root[:, None] * x, root * y, n * problem.lam)
    else:
        w = fit_convex(x, y, q / n, problem.lam, problem.loss)
    scale = np.ones(d)
    scale[: problem.eigenvalues.size] = np.sqrt(problem.eigenvalues)
    return measure(scale * w, np.pad(problem.whitened(problem.truth)[0], (0, d - problem.eigenvalues.size)))


def _draw(problem: SpanProblem, group: Group, d: int, n: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Kept rows (kept, d), observed labels and weights of a group."""
    labeller, along = problem.directions(group)
    size = labeller.size
    z = rng.standard_normal((whole_rows("ratio*d/phi", group.ratio * n), d))
    y, passed = draw_labels(group.flip, z[:, :size] @ labeller, rng)
    keep, q = group.select(along @ z[:, :size].T, y)
    kept = passed & (rng.random(len(z)) < keep) & (q > 0)
    x = z[kept]
    x[:, :size] *= np.sqrt(problem.eigenvalues)
    return x, y[kept], q[kept]


def fit_convex(x: Array, y: Array, q: Array, lam: float, loss: Loss, gradient: float = 1e-6) -> Array:
    """argmin Σ q ℓ(w·x; y) + (lam/2)|w|² by scipy's trust-region Newton method with the exact Hessian.

    lam = 0: where a loss with `margin` finds the rows separable, the `max_margin` solution. Judged by the norm of the
    gradient, relative to that at w = 0: scipy's own status depends on differences of the objective, which drown in
    rounding first. Raises ConvergenceError where it is too large.
    """
    from scipy.optimize import minimize

    if not len(y):  # the shortest w; scipy's non-negative least squares breaks off the process without columns
        return np.zeros(x.shape[1])
    if lam == 0 and loss.margin and (widest := max_margin(x, y)) is not None:
        return widest

    def slope(w: Array) -> Array:
        return x.T @ (q * loss.slope(x @ w, y)) + lam * w

    start = np.zeros(x.shape[1])
    allowed = gradient * np.linalg.norm(slope(start))
    result = minimize(
        lambda w: q @ loss.value(x @ w, y) + lam / 2 * w @ w,
        start,
        jac=slope,
        hess=lambda w: (x.T * (q * loss.curvature(x @ w, y))) @ x + lam * np.eye(x.shape[1]),
        method="trust-exact",
        options={"gtol": allowed / 10},
    )
    missed = np.linalg.norm(result.jac)
    if not missed <= allowed:
        raise ConvergenceError(f"{loss} fit, (kept, d) = {x.shape}, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x


def max_margin(x: Array, y: Array) -> Array | None:
    """The shortest w with y (w·x) ≥ 1 for all rows x (rows, d); None where the rows are not separable.

    Lawson and Hanson's "least distance programming" (1974, chapter 23), by their non-negative least squares.
    """
    from scipy.optimize import nnls

    columns = np.vstack([(y[:, None] * x).T, np.ones(len(y))])
    target = np.eye(len(columns))[-1]
    residual = columns @ nnls(columns, target, maxiter=100 * len(y))[0] - target
    return residual[:-1] / -residual[-1] if -residual[-1] > 1e-9 else None
