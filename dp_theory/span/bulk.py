"""The directions that nothing looks at, the fixed point that they set, and what a solver returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.span.span_problem import SpanProblem


class Solution(NamedTuple):
    """a (k,): θ in the span's basis; variance: σ², ‖θ‖² off the span; residual of the fixed point, relative.

    errors(): bounds of |a - exact a| and of |variance - exact variance|, to first order in what rounding and the
    residual leave of this solver's equations; what its quadrature leaves is not among them. endless: whether ‖θ‖ is
    infinite; a and σ² then fix its direction only.
    """

    a: Array
    variance: float
    residual: float
    errors: Callable[[], tuple[float, float]]
    endless: bool = False


@dataclass(frozen=True)
class Bulk:
    """What the directions outside the span contribute when a row's curvature is t on average.

    R0 = (tΣ + λI)^-1, H0 = Σ^½ R0 Σ^½, U the basis of the span: delta = tr(ΣR0)/n, spread = tr(H0²)/n,
    inside = UᵀH0U, shrink = I − t UᵀH0U (computed without the cancellation), outside = (I − UUᵀ) H0 U. O(d).
    """

    delta: float
    spread: float
    inside: Array  # (k, k)
    shrink: Array  # (k, k)
    outside: Array  # (d, k)

    @classmethod
    def of(cls, problem: SpanProblem, t: float, phi: float, lam: float) -> "Bulk":
        """Of a problem's spectrum and basis, at scalar phi and lam."""
        eigenvalues, basis = problem.eigenvalues, problem.basis
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

    def leak(self, a: Array) -> float:
        """Squared norm that leaves the span when θ's part in it is a: aᵀK^-1(N − K²)K^-1a with K = UᵀH0U and
        N = UᵀH0²U; 0 if Σ = I."""
        return float(np.square(self.outside @ np.linalg.solve(self.inside, a)).sum())


def solve_delta(
    eigenvalues: Array, phi: float, lam: float, mean_weight: Callable[[float], float]
) -> tuple[float, float]:
    """The one root δ of δ = (1/n) tr Σ(tΣ + λI)^-1, t = mean_weight(δ), and its residual. Σ = I: λδ + tδ = φ.

    tδ rises with δ, so that (right side)/δ falls.
    """
    from scipy.optimize import root_scalar

    def excess(log_delta: float) -> float:
        delta = np.exp(log_delta)
        return 1 - phi * (eigenvalues / (delta * (mean_weight(delta) * eigenvalues + lam))).mean()

    low = high = np.log(phi)
    while excess(low) > 0:
        low -= 4
    while excess(high) < 0:
        high += 4
    # root_scalar: scipy.optimize.elementwise.find_root takes 13 times as long for one root
    root = root_scalar(excess, bracket=(low, high), xtol=1e-15, rtol=1e-15).root
    return np.exp(root), abs(excess(root))
