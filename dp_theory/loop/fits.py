"""Fits of a linear learner by standard solvers, for experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.losses import Hinge, Loss

if TYPE_CHECKING:
    from jaxtyping import Float

_SEPARATED = 1e-9  # a margin that is smaller, relative to the residual's scale, is rounding


def fit_convex(
    x: Float[np.ndarray, "rows d"],
    y: Float[np.ndarray, " rows"],
    q: Float[np.ndarray, " rows"],
    lam: float,
    loss: Loss,
    gradient: float = 1e-6,
) -> Float[np.ndarray, " d"]:
    """The w of the least Σ q ℓ(w·x; y) + (lam/2)|w|²; `gradient` is the largest left, relative to that at w = 0."""
    from scipy.optimize import minimize

    if not len(y):  # the shortest w; scipy's non-negative least squares breaks off the process without columns
        return np.zeros(x.shape[1])
    if lam == 0 and loss.margin and (widest := max_margin(x, y)) is not None:
        return widest
    if isinstance(loss, Hinge):
        return support_vectors(x, y, q, lam, gradient)

    def value(w: np.ndarray) -> float:
        return q @ loss.value(x @ w, y) + lam / 2 * w @ w

    def slope(w: np.ndarray) -> np.ndarray:
        return x.T @ (q * loss.slope(x @ w, y)) + lam * w

    def curvature(w: np.ndarray) -> np.ndarray:
        return (x.T * (q * loss.curvature(x @ w, y))) @ x + lam * np.eye(x.shape[1])

    start = np.zeros(x.shape[1])
    allowed = gradient * np.linalg.norm(slope(start))
    options = {"gtol": allowed / 10}
    result = minimize(value, start, jac=slope, hess=curvature, method="trust-exact", options=options)
    missed = np.linalg.norm(result.jac)
    if not missed <= allowed:
        raise ConvergenceError(f"{loss} fit, (kept, d) = {x.shape}, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x


def support_vectors(
    x: Float[np.ndarray, "rows d"],
    y: Float[np.ndarray, " rows"],
    q: Float[np.ndarray, " rows"],
    lam: float,
    gap: float,
) -> Float[np.ndarray, " d"]:
    """By its dual, up to a duality gap."""
    from scipy.optimize import minimize

    if lam == 0:
        raise InputError("lam = 0: the experiment of the hinge needs lam > 0 where the rows are not separable")
    signed = y[:, None] * x

    def dual(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        w = alpha @ signed / lam
        return lam / 2 * w @ w - alpha.sum(), signed @ w - 1

    bounds = np.column_stack([np.zeros(len(q)), q])
    options = {"maxiter": 10_000, "maxfun": 100_000, "maxcor": 50, "ftol": 0.0, "gtol": 0.0}
    found = minimize(dual, q / 2, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    w = found.x @ signed / lam
    missed = (q @ np.maximum(1 - signed @ w, 0) + lam / 2 * w @ w + found.fun) / q.sum()
    if not missed <= gap:
        raise ConvergenceError(f"hinge fit, (kept, d) = {x.shape}, lam = {lam:g}: duality gap {missed:.1e} is left")
    return w


def max_margin(x: Float[np.ndarray, "rows d"], y: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " d"] | None:
    """None where the rows are not separable, by non-negative least squares (Lawson and Hanson 1974, chapter 23)."""
    from scipy.optimize import nnls

    columns = np.vstack([(y[:, None] * x).T, np.ones(len(y))])
    target = np.eye(len(columns))[-1]
    residual = columns @ nnls(columns, target, maxiter=100 * len(y))[0] - target
    if not -residual[-1] > _SEPARATED:
        return None
    return residual[:-1] / -residual[-1]
