"""The bulk, which are all directions outside the span: what they contribute, and the fixed point that they set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.span.span_problem import SpanProblem

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Bulk:
    """What the directions outside the span contribute when a row's curvature is t on average.

    With R0 = (tΣ + λI)^-1, H0 = Σ^½ R0 Σ^½ of (T2.4), and U the basis of the span: `delta` is tr(ΣR0)/n, `spread`
    tr(H0²)/n, `inside` UᵀH0U, `shrink` I − t UᵀH0U without the cancellation, and `outside` (I − UUᵀ) H0 U.
    """

    delta: float
    spread: float
    inside: Float[np.ndarray, "k k"]
    shrink: Float[np.ndarray, "k k"]
    outside: Float[np.ndarray, "d k"]

    @classmethod
    def of(cls, problem: SpanProblem, t: float, phi: float, lam: float) -> Bulk:
        eigenvalues = problem.eigenvalues
        basis = problem.basis
        curvature = t * eigenvalues + lam
        h0 = eigenvalues / curvature
        image = h0[:, None] * basis
        inside = basis.T @ image
        return cls(
            delta=phi * h0.mean(),
            spread=phi * np.square(h0).mean(),
            inside=inside,
            shrink=basis.T @ (lam / curvature[:, None] * basis),
            outside=image - basis @ inside,
        )

    def leak(self, a: Float[np.ndarray, " k"]) -> float:
        """Squared norm of θ off the span that comes with its part a in the span. It is 0 if Σ = I.

        It equals aᵀK^-1(N − K²)K^-1a with K = UᵀH0U and N = UᵀH0²U.
        """
        return float(np.square(self.outside @ np.linalg.solve(self.inside, a)).sum())


def solve_delta(
    eigenvalues: Float[np.ndarray, " d"], phi: float, lam: float, mean_weight: Callable[[float], float]
) -> tuple[float, float]:
    """The one root δ = (1/n) tr Σ(tΣ + λI)^-1 of (T2.4), t = mean_weight(δ), and its relative residual. For Σ = I it is
    λδ + tδ = φ.

    t·δ must rise with δ, so that (right side)/δ falls.
    """
    from scipy.optimize import root_scalar

    def excess(log_delta: float) -> float:
        delta = np.exp(log_delta)
        return 1 - phi * (eigenvalues / (delta * (mean_weight(delta) * eigenvalues + lam))).mean()

    low = np.log(phi)
    high = low
    while excess(low) > 0:
        low -= 4
    while excess(high) < 0:
        high += 4
    # root_scalar: scipy.optimize.elementwise.find_root takes 13 times as long for one root
    root = root_scalar(excess, bracket=(low, high), xtol=1e-15, rtol=1e-15).root
    return np.exp(root), abs(excess(root))
