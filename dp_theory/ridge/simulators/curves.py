"""Error curves over sample sizes and ridges: the fits of one experiment share their factorizations."""

import numpy as np
from scipy.linalg import get_lapack_funcs

from dp_theory.ridge.simulators.dense import labels, outputs, truth
from dp_theory.rules import Rule

_sytrd, _ormqr, _ptsv = get_lapack_funcs(("sytrd", "ormqr", "ptsv"), dtype=np.float64)


def selected_rows(
    rule: Rule, rho: float, count: int, d: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` kept rows (count, d) and their labels (count,), drawn directly from the selected distribution.

    rule and rho are scalar.
    """
    x = rng.standard_normal((count, d))
    x[:, 0] = rule.draw(rng, count)
    return x, labels(x, truth(rho, d))


def error_curves(x: np.ndarray, y: np.ndarray, w0: np.ndarray, sizes: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """`measure(fit_ridge(x[:m], y[:m], penalty), w0)` for every m in `sizes` and each of its penalties.

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
            results[i] = [outputs(u @ reduced.w0, u @ reduced.apply(u)) for u in map(reduced.solve, penalties[i])]
        else:  # (G + penalty) w = X^T y
            gram += x[done:m].T @ x[done:m]
            moment += x[done:m].T @ y[done:m]
            done = m
            reduced = _Tridiagonal(gram, moment, w0)
            results[i] = [outputs(w @ reduced.w0, w @ w) for w in map(reduced.solve, penalties[i])]
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
        """z (size,). Raises LinAlgError where T + penalty is singular."""
        if len(self.b) == 1:
            return self.b / (self.diagonal + penalty)
        *_, z, info = _ptsv(self.diagonal + penalty, self.off, self.b)
        if info:
            raise np.linalg.LinAlgError(f"the Gram matrix of size {len(self.b)} is singular at penalty {penalty:g}")
        return z

    def apply(self, z: np.ndarray) -> np.ndarray:
        """T z."""
        product = self.diagonal * z
        product[:-1] += self.off * z[1:]
        product[1:] += self.off * z[:-1]
        return product
