"""Ridge on selected Gaussian rows, drawn exactly in law without ever making a row of length d (ours).

Labels and selection look at k special directions; rotations bring [y | special | rest] to an upper *banded* matrix Z,
by block Golub-Kahan bidiagonalisation (Dumitriu and Edelman 2002). With b = k + 1, D = d - k and m kept rows,

    Z[r, r] ~ chi(m - r) (r >= b),     Z[r, r + b] ~ chi(D - r),     Z[r, c] ~ N(0, 1) between them.

A few hundred of its normal equations give w_hat to rounding, whatever d is. Row weights would destroy the invariance.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.linalg import cho_solve_banded, cholesky_banded

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Float, sine_of
from dp_theory.rules import KeepAll, Random, Rule
from dp_theory.rules.base import share_of

# The error of the truncation, relative to |w_hat|.
TOLERANCE = 1e-12
# Rows of Z in the first attempt; each later attempt doubles them.
_FIRST = 128
# Rows that are rotated at a time.
_CHUNK = 16384
# Rows that a rule draws at a time.
_LARGE = 1 << 20
# The certificate assumes no singular value this many deviations out: probability < 3e-18.
_DEVIATIONS = 9.0


class Draw(NamedTuple):
    """One draw of w_hat for each lam."""

    special: Array  # its coordinates along the special directions (lams, k)
    rest: Array  # the norm of its other coordinates (lams,)
    unknowns: int  # how many equations were needed
    bound: float  # bound of the error of w_hat by leaving out the other equations, over |w_hat|


def trial(rule: Rule, rho: float, n: int, d: int, lams: ArrayLike, rng: Generator) -> Float[Array, "lams 3"]:
    """Test error, overlap and squared norm of one data set for each ridge, in O(kept + d) operations."""
    m = int(rng.binomial(n, np.clip(share_of(rule), 0.0, 1.0)))
    if m == 0:
        return np.tile([0.5, 0.0, 0.0], (np.size(lams), 1))
    if isinstance(rule, KeepAll | Random):  # nothing looks at w_s, which may then be the truth
        rule = KeepAll()
        rho = 1.0
    sine = sine_of(rho)
    truth = np.array([rho, sine] if sine > 0 else [rho])
    factor = triangle(_labelled(rule, truth, m, rng), len(truth))
    special, rest, *_ = draw(factor, m, d, n, lams, rng)
    overlap = special @ truth
    across = special @ [sine, -rho] if sine > 0 else 0.0
    off = np.hypot(across, rest)
    return np.column_stack([np.arctan2(off, overlap) / np.pi, overlap, overlap**2 + off**2])


def _labelled(rule: Rule, truth: Array, m: int, rng: Generator) -> Iterator[Array]:
    for start in range(0, m, _LARGE):
        projections = rule.draw(rng, min(_LARGE, m - start))
        for t in np.split(projections, range(_CHUNK, len(projections), _CHUNK)):
            special = np.empty((len(t), len(truth) + 1))
            special[:, 1] = t
            special[:, 2:] = rng.standard_normal((len(t), len(truth) - 1))
            special[:, 0] = np.copysign(1.0, special[:, 1:] @ truth)
            yield special


def triangle(chunks: Iterable[Float[Array, "_ b"]], k: int) -> Float[Array, "b b"]:
    """Triangular factor of the rows [y | special]."""
    factor = np.zeros((0, k + 1))
    for chunk in chunks:
        factor = np.linalg.qr(np.concatenate([factor, chunk]), mode="r")
    return np.concatenate([factor, np.zeros((k + 1 - len(factor), k + 1))])


def draw(
    factor: Float[Array, "b b"], m: int, d: int, n: float, lams: ArrayLike, rng: Generator, full: bool = False
) -> Draw:
    """w_hat for each lam from the triangular factor; n is the normaliser.

    lam = 0 is the limit, of least norm where d > m. Z grows until the solution is certified to TOLERANCE or full.
    """
    b = len(factor)
    lams = np.atleast_1d(np.asarray(lams, dtype=float))
    last = min(m, d)
    bands = np.zeros((b + 1, 0))
    size = _FIRST
    while True:
        new = _bands(factor, m, d, bands.shape[1], min(size + b + 1, m, d + 1), rng)
        bands = np.concatenate([bands, new], axis=1)
        unknowns = min(size, last)
        if unknowns == last or not full:
            solutions = [_solve(bands, unknowns, m, d, n * lam) for lam in lams]
            bound = max(bound for _, bound in solutions)
            if bound <= TOLERANCE:
                w = np.array([solution for solution, _ in solutions])
                return Draw(w[:, : b - 1], np.linalg.norm(w[:, b - 1 :], axis=1), unknowns, bound)
        size *= 2


def _bands(factor: Array, m: int, d: int, start: int, stop: int, rng: Generator) -> Array:
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


def _chi(degrees: np.ndarray, rng: Generator) -> Array:
    return np.sqrt(2.0 * rng.standard_gamma(0.5 * degrees))


def _solve(bands: Array, size: int, m: int, d: int, shift: float) -> tuple[Array, float]:
    """w_hat from the first `size` normal equations, and a bound of its relative error.

    They are (XᵀX + shift) w = Xᵀy, or where m < d the dual (XXᵀ + shift) u = y: the smaller system stays regular.
    """
    b = len(bands) - 1
    dual = m < d
    is_cut = size < min(m, d)
    normal = _gram(bands, size, dual)
    right = np.zeros((size, 1 + is_cut * b))
    if dual:
        right[0, 0] = bands[0, 0]
    else:
        right[:b, 0] = bands[0, 0] * bands[1 : 1 + size, 0]
    if is_cut:
        for j in range(1, b + 1):
            right[range(size - j, size), range(1, 1 + j)] = normal[j, size - j :]
    normal[0] += shift
    try:
        factor = cholesky_banded(normal, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        raise InputError(f"lam * n = {shift:g} leaves the normal equations singular: increase lam") from None
    solved = np.asarray(cho_solve_banded((factor, True), right))
    u = solved[:, 0]
    response = solved[:, 1:]  # N11^-1 N12
    w = _transpose_product(bands, u) if dual else u
    residual = right[:, 1:].T @ u
    return w, _truncation_error(w, residual, response, normal, m, d, shift) if is_cut else 0.0


def _truncation_error(w: Array, residual: Array, response: Array, normal: Array, m: int, d: int, shift: float) -> float:
    """Bound of the relative error of w by the neglected equations, or inf.

    The neglected unknowns solve S e2 = residual with S ≥ shift + (smallest singular value)²; the others are off by
    response·e2.
    """
    size = normal.shape[1]
    b = len(normal) - 1
    dual = m < d
    rows, columns = (m - size, d + 1 - size - b) if dual else (m - size - 1, d - size)
    narrow, wide = sorted(np.sqrt(np.maximum((rows, columns), 0)))
    smallest = shift + max(wide - narrow - _DEVIATIONS, 0.0) ** 2
    if smallest == 0.0:
        return np.inf
    error = np.linalg.norm(residual) / smallest * (1.0 + np.linalg.norm(response))
    if dual:  # |X|² <= |N11| + |N22|
        leading = 2.0 * np.abs(normal).sum(axis=0).max()
        error *= np.sqrt(leading + (narrow + wide + _DEVIATIONS) ** 2)
    return float(error / np.linalg.norm(w))


def _gram(bands: Array, size: int, dual: bool) -> Array:
    """The diagonals of XXᵀ (dual) or XᵀX from the main one down; Z without its first column, which is y, is X."""
    b = len(bands) - 1
    rows = bands.shape[1]
    gram = np.zeros((b + 1, size))
    for i in range(b + 1):
        for j in range(b + 1 - i):
            if dual:
                stop = max(min(size, rows - j), 0)
                gram[j, :stop] += bands[i + j, :stop] * bands[i, j : stop + j]
            else:
                r = slice(max(1 - i, 0), max(min(rows, size + 1 - i), 1))
                gram[j, r.start + i - 1 : r.stop + i - 1] += bands[i, r] * bands[i + j, r]
    if dual:
        gram[0, 0] -= bands[0, 0] ** 2
    return gram


def _transpose_product(bands: Array, u: Array) -> Array:
    b = len(bands) - 1
    size = len(u)
    w = np.zeros(size + b + 1)
    for i in range(b + 1):
        w[i : i + size] += bands[i, :size] * u
    return w[1:]
