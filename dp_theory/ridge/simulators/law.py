"""Ridge on selected Gaussian rows, drawn exactly in law without ever making a row of length d (ours).

Conventions. Sigma = I. k orthonormal special directions (pruner, truth, ...) carry all that labels and selection look
at; the other D = d - k coordinates of the m kept rows are i.i.d. N(0, 1) and independent of both. lam multiplies the
normaliser n (the pool), not m. Exact for rows kept or dropped; row weights would destroy the rotation invariance, so
soft weights need the dense simulator.

The method. Rotations of rows, and of the D anonymous columns, leave ridge regression as it was. They bring
[y | special | rest] to an upper *banded* matrix Z with k + 2 diagonals: its first k + 1 columns are the triangular
factor of [y | special], and with b = k + 1 and everything independent

    Z[r, r] ~ chi(m - r) (r >= b),     Z[r, r + b] ~ chi(D - r),     Z[r, c] ~ N(0, 1) between them.

Rows end at m, columns at d. This is Golub-Kahan bidiagonalisation, in blocks, of a Gaussian matrix (Dumitriu and
Edelman 2002 for b = 1), so the normal equations are banded, and a leading part of them is a Krylov space: it gives
w_hat to rounding after a few hundred equations whatever d is, unless the problem is ill-conditioned.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.linalg import cho_solve_banded, cholesky_banded, solveh_banded

from dp_base.errors import InputError
from dp_theory.numerics.checks import require
from dp_theory.rules import KeepAll, Random, Rule

TOLERANCE = 1e-12  # of the truncation, relative to |w_hat|
_FIRST = 128  # rows of Z in the first attempt; each later one doubles
_CHUNK, _LARGE = 4096, 1 << 20  # rows that are rotated at a time, rows that a rule draws at a time
_DEVIATIONS = 9.0  # the certificate assumes no singular value this many deviations out: probability < 3e-18


class Draw(NamedTuple):
    """One draw of w_hat for each lam.

    special (lams, k): its coordinates along the special directions; rest (lams,): the norm of the others.
    unknowns: how many equations were needed; bound: of the error of w_hat by leaving out the others, over |w_hat|.
    """

    special: np.ndarray
    rest: np.ndarray
    unknowns: int
    bound: float


def trial(rule: Rule, rho: float, n: int, d: int, lams: ArrayLike, rng: Generator, full: bool = False) -> np.ndarray:
    """Test error, overlap and squared norm, (lams, 3), of one data set of n rows of which `rule` keeps some.

    rule and rho are scalar, in the conventions of dp_theory.ridge.problem; lams (lams,) are ridges per pool row;
    full: as in `draw`. Costs O(kept + d) at most. If no row is kept, w_hat = 0 and the test error is 1/2. Raises as
    `draw` does.
    """
    lams = np.atleast_1d(np.asarray(lams, dtype=float))
    m = int(rng.binomial(n, np.clip(rule.moments(rho).p, 0.0, 1.0)))
    if m == 0:
        return np.tile([0.5, 0.0, 0.0], (len(lams), 1))
    if isinstance(rule, KeepAll | Random):  # nothing looks at w_s
        rule, rho = KeepAll(), 1.0
    sine = np.sqrt((1.0 - rho) * (1.0 + rho))
    truth = np.array([rho, sine] if sine > 0 else [rho])
    special, rest, *_ = draw(triangle(_labelled(rule, truth, m, rng), len(truth)), m, d, n, lams, rng, full)
    overlap = special @ truth
    across = special @ [sine, -rho] if sine > 0 else 0.0
    off = np.hypot(across, rest)
    return np.column_stack([np.arctan2(off, overlap) / np.pi, overlap, overlap**2 + off**2])


def _labelled(rule: Rule, truth: np.ndarray, m: int, rng: Generator) -> Iterator[np.ndarray]:
    """m selected rows [y, t, v], with x·w0 = truth·(t, v), in chunks that fit the processor's cache."""
    for start in range(0, m, _LARGE):
        projections = rule.draw(rng, min(_LARGE, m - start))
        for t in np.split(projections, range(_CHUNK, len(projections), _CHUNK)):
            special = np.empty((len(t), len(truth) + 1))
            special[:, 1] = t
            special[:, 2:] = rng.standard_normal((len(t), len(truth) - 1))
            special[:, 0] = np.copysign(1.0, special[:, 1:] @ truth)
            yield special


def triangle(chunks: Iterable[np.ndarray], k: int) -> np.ndarray:
    """Triangular factor (k + 1, k + 1) of the rows [y | special], given in chunks (rows, k + 1)."""
    factor = np.zeros((0, k + 1))
    for chunk in chunks:
        factor = np.linalg.qr(np.concatenate([factor, chunk]), mode="r")
    return np.concatenate([factor, np.zeros((k + 1 - len(factor), k + 1))])


def draw(factor: np.ndarray, m: int, d: int, n: float, lams: ArrayLike, rng: Generator, full: bool = False) -> Draw:
    """w_hat = argmin (1/2n) sum (w.x_i - y_i)^2 + (lam/2)|w|^2 over m kept rows, for each lam >= 0.

    factor: from `triangle`. lam = 0 is the limit lam -> 0, the least-norm solution where d > m. By default Z is grown
    until the solution is certified to TOLERANCE; `full` solves the whole system (the reference). Raises InputError
    where m < 1, d < k or lam < 0, and where lam = 0 leaves w_hat undetermined.
    """
    b = len(factor)
    lams = np.atleast_1d(np.asarray(lams, dtype=float))
    require("lam", lams, lams >= 0, "be at least 0: it is the ridge; 0 is the ridgeless limit")
    if m < 1:
        raise InputError(f"m = {m} must be at least 1: it is the number of kept rows")
    if d < b - 1:
        raise InputError(f"d = {d} must be at least {b - 1}, the number of special directions")
    dual = m < d  # solve in the smaller space: it stays regular as lam -> 0
    last = m if dual else d
    bands, size = np.zeros((b + 1, 0)), _FIRST
    while True:
        new = _bands(factor, m, d, bands.shape[1], min(size + b + 1, m, d + 1), rng)
        bands = np.concatenate([bands, new], axis=1)
        unknowns = min(size, last)
        if unknowns == last or not full:
            solutions = [_solve(bands, unknowns, m, d, n * lam, dual) for lam in lams]
            bound = max(s[1] for s in solutions)
            if bound <= TOLERANCE:
                w = np.array([s[0] for s in solutions])
                return Draw(w[:, : b - 1], np.linalg.norm(w[:, b - 1 :], axis=1), unknowns, bound)
        size *= 2


def _bands(factor: np.ndarray, m: int, d: int, start: int, stop: int, rng: Generator) -> np.ndarray:
    """Rows start..stop of Z as diagonals: [i, r - start] is Z[r, r + i], zero beyond the last column d."""
    b = len(factor)
    r = np.arange(start, stop)
    bands = np.empty((b + 1, len(r)))
    bands[0] = _chi(m - r, rng)
    bands[1:b] = rng.standard_normal((b - 1, len(r)))
    bands[b] = _chi(np.maximum(d - b + 1 - r, 0), rng)
    bands[r + np.arange(b + 1)[:, None] > d] = 0.0
    for row in range(start, min(b, stop)):
        bands[: b - row, row - start] = factor[row, row:]
    return bands


def _chi(degrees: np.ndarray, rng: Generator) -> np.ndarray:
    """Chi-distributed numbers; 0 degrees of freedom give 0."""
    return np.sqrt(2.0 * rng.standard_gamma(0.5 * degrees))


def _solve(bands: np.ndarray, size: int, m: int, d: int, shift: float, dual: bool) -> tuple[np.ndarray, float]:
    """w_hat from the first `size` of the regularised normal equations N; a bound of its relative error.

    Primal: (X^T X + shift) u = X^T y, w = u. Dual: (X X^T + shift) u = y, w = X^T u. Both are banded, b wide.
    Block elimination: the neglected unknowns solve S e2 = r2, r2 the residual, S the Schur complement, which is at
    least shift + (smallest singular value of a Gaussian matrix)^2; the others are off by N11^-1 N12 e2.
    """
    b = len(bands) - 1
    y = bands[0, 0]
    right = np.zeros((size, 1 + b))  # the right-hand side, then N12, which only reaches the last b equations
    if dual:
        normal = _rows_gram(bands, size)
        right[0, 0] = y
    else:
        normal = _columns_gram(bands, size)
        right[:b, 0] = y * bands[1 : 1 + size, 0]
    whole = size == (m if dual else d)
    if not whole:
        for j in range(1, b + 1):
            right[range(size - j, size), range(1, 1 + j)] = normal[j, size - j :]
    normal[0] += shift
    try:
        if whole:
            u = solveh_banded(normal, right[:, 0], lower=True)
            return (_transpose_product(bands, u) if dual else u), 0.0
        solved = cho_solve_banded((cholesky_banded(normal, lower=True, check_finite=False), True), right)
    except np.linalg.LinAlgError:
        raise InputError(f"lam * n = {shift:g} leaves the normal equations singular: increase lam") from None
    u, response = solved[:, 0], solved[:, 1:]
    w = _transpose_product(bands, u) if dual else u
    rows, columns = (m - size, d + 1 - size - b) if dual else (m - size - 1, d - size)
    narrow, wide = sorted((np.sqrt(max(rows, 0)), np.sqrt(max(columns, 0))))
    smallest = shift + max(wide - narrow - _DEVIATIONS, 0.0) ** 2
    if smallest == 0.0:
        return w, np.inf
    error = np.linalg.norm(right[:, 1:].T @ u) / smallest * (1.0 + np.linalg.norm(response))
    if dual:  # |X|^2 <= |N11| + |N22|
        leading = 2.0 * np.abs(normal).sum(axis=0).max()
        error *= np.sqrt(leading + (narrow + wide + _DEVIATIONS) ** 2)
    return w, float(error / np.linalg.norm(w))


def _columns_gram(bands: np.ndarray, size: int) -> np.ndarray:
    """Lower banded form, [j, q - 1] = (X^T X)[q, q + j], of the first `size` columns q >= 1 of Z."""
    b, rows = len(bands) - 1, bands.shape[1]
    gram = np.zeros((b + 1, size))
    for i in range(b + 1):
        r = slice(max(1 - i, 0), max(min(rows, size + 1 - i), 1))
        for j in range(b + 1 - i):
            gram[j, r.start + i - 1 : r.stop + i - 1] += bands[i, r] * bands[i + j, r]
    return gram


def _rows_gram(bands: np.ndarray, size: int) -> np.ndarray:
    """Lower banded form, [j, r] = (X X^T)[r, r + j], of the first `size` rows; column 0 of Z is y, not X."""
    b, rows = len(bands) - 1, bands.shape[1]
    gram = np.zeros((b + 1, size))
    for j in range(b + 1):
        stop = max(min(size, rows - j), 0)
        for i in range(j, b + 1):
            gram[j, :stop] += bands[i, :stop] * bands[i - j, j : stop + j]
    gram[0, 0] -= bands[0, 0] ** 2
    return gram


def _transpose_product(bands: np.ndarray, u: np.ndarray) -> np.ndarray:
    """X^T u from the rows that u covers."""
    b, size = len(bands) - 1, len(u)
    w = np.zeros(size + b + 1)
    for i in range(b + 1):
        w[i : i + size] += bands[i, :size] * u
    return w[1:]
