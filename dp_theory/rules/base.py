"""Selection rules: which rows of the pool are kept, as a function q(t) of the projection t = x·w_s ~ N(0, 1).

A rule keeps a row with probability q(t) in [0, 1], q symmetric. All that the asymptotics need of it are four moments
(`Moments`); with q binary at random they are linear in q, so that 0 < q < 1 needs nothing new.
alpha is a threshold in units of t's standard deviation (the paper's xi/|w_s|), p the kept fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import erf

from dp_base.errors import ConvergenceError
from dp_theory.checks import Real, require
from dp_theory.quadrature import PDF0, half_line

SQRT2 = np.sqrt(2)
THRESHOLD = "be positive: it is the threshold on |x·w_s| in units of its standard deviation"


class Moments(NamedTuple):
    """The constants of Theorem 1, for G ~ N(0, 1), tau = rho/√(1 - rho²), y = sign(w0·x), v ⟂ w_s in their plane."""

    p: Any  # E[q(G)], the kept fraction
    gamma: Any  # E[q(G) G²]
    beta: Any  # 2 E[q(G) pdf(tau G)] = E[q y (x·v)]
    beta_tilde: Any  # 2 E[q(G) cdf(tau G) G] = E[q y (x·w_s)]


def sin_tan(rho: Real) -> tuple[Any, Any]:
    """√(1 - rho²) and tau = rho/√(1 - rho²), which is ±inf at rho = ±1."""
    rho = np.asarray(rho, float)
    sine = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(divide="ignore"):
        return sine, rho / sine


class Rule:
    """Base of all rules: a frozen dataclass with parameters that broadcast."""

    breakpoints: ClassVar[tuple[float, ...]] = ()  # positive t where q is not smooth, for whoever integrates q

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(np.shape(value) for value in self._parameters().values()))

    def at(self, index: tuple[int, ...], shape: tuple[int, ...]) -> Self:
        """The scalar rule at `index` of this one broadcast to `shape`."""
        return self._map(lambda value: float(np.broadcast_to(value, shape)[index]))

    def _parameters(self) -> dict[str, Any]:
        return vars(self)

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return type(self)(**{name: function(value) for name, value in self._parameters().items()})

    def keep_probability(self, t: Any) -> Any:
        """q(t), in [0, 1]."""
        raise NotImplementedError

    def moments(self, rho: Real) -> Moments:
        """The four constants at rho, with full relative accuracy; broadcasts."""
        return moments_by_quadrature(self, rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """The rule of this kind that keeps a fraction p of the pool, 0 < p ≤ 1."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of t from the selected distribution, density ∝ q(t)·pdf(t). Scalar parameters only.

        Here by rejection: costs size/p normals.
        """
        p = float(self.moments(0.0).p)
        kept, missing = [], size
        while missing > 0:
            t = rng.standard_normal(int(1.1 * missing / p) + 16)
            t = t[rng.random(t.size) < self.keep_probability(t)][:missing]
            kept.append(t)
            missing -= t.size
        return np.concatenate(kept) if kept else np.empty(0)


def moments_by_quadrature(rule: Rule, rho: Real) -> Moments:
    """Moments of any q by composite Gauss-Legendre rules of two orders; their difference certifies the result."""
    _, tau = sin_tan(rho)
    tau = tau[..., None]
    expanded = rule._map(lambda value: np.asarray(value, float)[..., None])

    def with_order(order: int) -> Moments:
        t, weights = half_line(rule.breakpoints, order)
        mass = weights * expanded.keep_probability(t)
        return Moments(
            mass.sum(-1),
            (mass * t**2).sum(-1),
            2 * PDF0 * (mass * np.exp(-((tau * t) ** 2) / 2)).sum(-1),
            (mass * t * erf(tau * t / SQRT2)).sum(-1),
        )

    coarse, fine = with_order(12), with_order(20)
    require("keep_fraction", fine.p, fine.p > 0, f"be positive: {rule} keeps nothing")
    scale = np.sqrt(fine.p * np.maximum(fine.gamma, fine.p))  # Cauchy-Schwarz bound of beta and beta_tilde
    scales = (fine.p, fine.gamma, scale, scale)
    residual = max(np.max(np.abs(c - f) / s) for c, f, s in zip(coarse, fine, scales, strict=True))
    if not residual < 1e-9:
        raise ConvergenceError(
            f"moments of {rule} are certain to {residual:.1e} only: does q jump off its breakpoints?"
        )
    return fine


def kept_fraction(p: Real) -> Real:
    require("keep", p, (np.asarray(p) > 0) & (np.asarray(p) <= 1), "lie in (0, 1]: it is the kept fraction of the pool")
    return p
