"""Error curves over sample sizes and ridges: the fits of one experiment share their factorizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import get_lapack_funcs

from dp_theory.ridge.simulators.dense import labels, outputs, truth
from dp_theory.rules import Rule

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_sytrd, _ormqr, _ptsv = get_lapack_funcs(("sytrd", "ormqr", "ptsv"), dtype=np.float64)
_BLOCK = 32  # columns that LAPACK reduces at a time, for the size of its work space
_WORK = 64  # numbers of work space, where two vectors are multiplied by the reflectors


def selected_rows(
    rule: Rule, rho: float, count: int, d: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "count d"], Float[np.ndarray, " count"]]:
    """Kept rows and their labels, drawn directly from the selected distribution.

    Parameters
    ----------
    rule
        The selection rule. Its parameters are numbers.
    rho
        Cosine between selector and truth.
    count
        Number of rows.
    d
        Dimension.
    rng
        Random numbers.
    """
    x = rng.standard_normal((count, d))
    x[:, 0] = rule.draw(rng, count)
    return x, labels(x, truth(rho, d))


def error_curves(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, " n"],
    w0: Float[np.ndarray, " d"],
    sizes: Int[np.ndarray, " sizes"],
    penalties: Float[np.ndarray, "sizes ridges"],
) -> Float[np.ndarray, "sizes ridges 3"]:
    """Test error, overlap and squared norm for every number of rows, with each of its penalties.

    Equal to `measure(fit_ridge(x[:m], y[:m], penalty), w0)` in a loop. But the Gram matrices are nested, and each of
    them is reduced to tridiagonal form once, after which a ridge costs O(d). Points of one call share rows, so that
    they are correlated.

    Parameters
    ----------
    x, y
        Rows and labels.
    w0
        The truth, a unit vector.
    sizes
        Numbers of rows, in any order.
    penalties
        Penalties for each size, as `fit_ridge` takes them, positive.

    Raises
    ------
    LinAlgError
        Where a Gram matrix is singular at its penalty.
    """
    d = x.shape[1]
    kernel = x[:d] @ x[:d].T if np.min(sizes) < d else np.empty((0, 0))
    projections = x[:d] @ w0
    gram = np.zeros((d, d))
    moment = np.zeros(d)
    done = 0
    results = np.empty((*np.shape(penalties), 3))
    for i in np.argsort(sizes, kind="stable"):
        m = sizes[i]
        if m == 0:
            results[i] = 0.5, 0.0, 0.0
        elif m < d:  # w = X^T u with (K + penalty) u = y
            reduced = _Tridiagonal(kernel[:m, :m], y[:m], projections[:m])
            solutions = [reduced.solve(penalty) for penalty in penalties[i]]
            results[i] = [outputs(u @ reduced.w0, u @ reduced.apply(u)) for u in solutions]
        else:  # (G + penalty) w = X^T y
            gram += x[done:m].T @ x[done:m]
            moment += x[done:m].T @ y[done:m]
            done = m
            reduced = _Tridiagonal(gram, moment, w0)
            solutions = [reduced.solve(penalty) for penalty in penalties[i]]
            results[i] = [outputs(w @ reduced.w0, w @ w) for w in solutions]
    return results


class _Tridiagonal:
    """A symmetric matrix A = Q T Qᵀ with tridiagonal T, for (T + penalty) z = Qᵀb in the coordinates of Q.

    `b` and `w0` are the given vectors in these coordinates.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, w0: np.ndarray) -> None:
        size = len(a)
        reflectors, self.diagonal, self.off, tau, _ = _sytrd(a, lower=1, lwork=_BLOCK * size)
        vectors = np.column_stack([b, w0])
        if size > 1:  # Q = diag(1, Q'), Q' the product of the reflectors below the diagonal
            vectors[1:] = _ormqr("L", "T", reflectors[1:, :-1], tau, vectors[1:], _WORK)[0]
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
