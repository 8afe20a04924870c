"""The experiment itself at finite d, as the paper describes it: the reference for theory and for faster simulators.

By rotation invariance w_s = e_1 and w0 = rho·e_1 + √(1 - rho²)·e_2. Trial k draws from SeedSequence(seed, (stream, k)),
so a trial depends neither on how many others run nor on which process runs it.
"""

import numpy as np
from scipy.linalg import get_lapack_funcs, solve

from dp_base.errors import InputError
from dp_theory import law
from dp_theory.checks import require
from dp_theory.parallel import spread
from dp_theory.problem import Problem, Simulation
from dp_theory.rules import Direct, Rule

ENGINES = ("dense", "law")
DENSE, LAW, CURVES = range(3)  # streams of random numbers
_sytrd, _ormqr, _ptsv = get_lapack_funcs(("sytrd", "ormqr", "ptsv"), dtype=np.float64)


def generator(seed: int, stream: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(stream, *key))))


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
    results = spread(draw, [(cell, d, seed, trial) for cell in cells for trial in range(trials)], workers)
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
    return measure(ridge(x, labels(x, w0), n * problem.lam), w0)


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


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
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
    return tuple(_outputs(w @ w0, w @ w))


def _outputs(overlap: np.ndarray, squared_norm: np.ndarray) -> np.ndarray:
    """Test error, overlap, squared norm, stacked on the last axis."""
    across = np.sqrt(np.maximum(squared_norm - overlap**2, 0))
    angle = np.where(squared_norm > 0, np.arctan2(across, overlap), np.pi / 2)
    return np.stack([angle / np.pi, overlap, squared_norm], axis=-1)


def error_curves(x: np.ndarray, y: np.ndarray, w0: np.ndarray, sizes: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """`measure(ridge(x[:m], y[:m], penalty), w0)` for every m in `sizes` and each of its penalties.

    sizes: (sizes,), penalties: (sizes, ridges), result: (sizes, ridges, 3). The Gram matrices are nested, and each is
    reduced to tridiagonal form once, after which a ridge costs O(d). Points of one call share rows, so they are
    correlated.
    """
    d = x.shape[1]
    order = np.argsort(sizes, kind="stable")
    kernel = x[:d] @ x[:d].T if np.min(sizes) < d else None
    truths = x[:d] @ w0
    gram, moment, done = np.zeros((d, d)), np.zeros(d), 0
    results = np.empty((*np.shape(penalties), 3))
    for i in order:
        m = sizes[i]
        if m == 0:
            results[i] = 0.5, 0.0, 0.0
        elif m < d:  # w = X^T u with (K + penalty) u = y
            assert kernel is not None
            reduced = _Tridiagonal(kernel[:m, :m], y[:m], truths[:m])
            results[i] = [_outputs(u @ reduced.w0, u @ reduced.apply(u)) for u in map(reduced.solve, penalties[i])]
        else:  # (G + penalty) w = X^T y
            gram += x[done:m].T @ x[done:m]
            moment += x[done:m].T @ y[done:m]
            done = m
            reduced = _Tridiagonal(gram, moment, w0)
            results[i] = [_outputs(w @ reduced.w0, w @ w) for w in map(reduced.solve, penalties[i])]
    return results


class _Tridiagonal:
    """A = Q T Q^T symmetric, T tridiagonal; solves (T + penalty) z = Q^T b in the coordinates of Q."""

    def __init__(self, a: np.ndarray, b: np.ndarray, w0: np.ndarray) -> None:
        size = len(a)
        reflectors, self.diagonal, self.off, tau, _ = _sytrd(a, lower=1, lwork=32 * size)
        vectors = np.column_stack([b, w0])
        if size > 1:  # Q = diag(1, Q'), Q' the product of the reflectors below the diagonal
            vectors[1:] = _ormqr("L", "T", reflectors[1:, :-1], tau, vectors[1:], 64)[0]
        self.b, self.w0 = vectors.T

    def solve(self, penalty: float) -> np.ndarray:
        if len(self.b) == 1:
            return self.b / (self.diagonal + penalty)
        *_, z, info = _ptsv(self.diagonal + penalty, self.off, self.b)
        if info:
            raise np.linalg.LinAlgError(f"the Gram matrix of size {len(self.b)} is singular at penalty {penalty:g}")
        return z

    def apply(self, z: np.ndarray) -> np.ndarray:
        product = self.diagonal * z
        product[:-1] += self.off * z[1:]
        product[1:] += self.off * z[:-1]
        return product


def selected_rows(
    rule: Rule, rho: float, count: int, d: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` kept rows and their labels, drawn directly from the selected distribution."""
    x = rng.standard_normal((count, d))
    x[:, 0] = rule.draw(rng, count)
    return x, labels(x, truth(rho, d))


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
