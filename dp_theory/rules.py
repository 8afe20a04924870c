"""Selection rules: which rows of the pool are kept, as a function q(t) of the projection t = x·w_s ~ N(0, 1).

A rule keeps a row with probability q(t) in [0, 1], q symmetric. All that the asymptotics need of it are four moments
(`Moments`); with q binary at random they are linear in q, so that 0 < q < 1 needs nothing new.
alpha is a threshold in units of t's standard deviation (the paper's xi/|w_s|), p the kept fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import erf, erfc, erfcinv, erfinv, gammainc, gammaincc

from dp_base.errors import ConvergenceError, InputError
from dp_theory.problem import Real, require

PDF0 = 1 / np.sqrt(2 * np.pi)  # the normal density at 0
SQRT2 = np.sqrt(2)
_THRESHOLD = "be positive: it is the threshold on |x·w_s| in units of its standard deviation"


class Moments(NamedTuple):
    """The constants of Theorem 1, for G ~ N(0, 1), tau = rho/√(1 - rho²), y = sign(w0·x), v ⟂ w_s in their plane."""

    p: Any  # E[q(G)], the kept fraction
    gamma: Any  # E[q(G) G²]
    beta: Any  # 2 E[q(G) pdf(tau G)] = E[q y (x·v)]
    beta_tilde: Any  # 2 E[q(G) cdf(tau G) G] = E[q y (x·w_s)]


def _sin_tan(rho: Real) -> tuple[Any, Any]:
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
        return _moments_by_quadrature(self, rho)

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


@dataclass(frozen=True)
class KeepHard(Rule):
    """q = 1[|t| ≤ alpha] (Lemma 1). alpha = inf keeps all."""

    alpha: Real

    def __post_init__(self) -> None:
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, _THRESHOLD)

    @property
    def breakpoints(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both
        return (float(self.alpha),)

    def keep_probability(self, t: Any) -> Any:
        return (np.abs(t) <= self.alpha).astype(float)

    def moments(self, rho: Real) -> Moments:
        """Lemma 1; its differences cancel at small alpha, where gamma is an incomplete gamma function."""
        alpha = np.minimum(self.alpha, 40.0)  # beyond, all is kept to 1e-300, and inf·0 is avoided
        rho = np.asarray(rho, float)
        sine = np.sqrt((1 - rho) * (1 + rho))
        scaled = alpha * (1 / SQRT2)
        with np.errstate(divide="ignore"):
            steep = scaled / sine
        p = erf(scaled)
        density = 2 * PDF0 * np.exp(-scaled * scaled)
        near = 2 * PDF0 * erf(steep)
        gamma = p - alpha * density
        beta_tilde = rho * near - density * erf(rho * steep)
        if np.any(small := alpha < 0.5):
            gamma = np.where(small, gammainc(1.5, scaled * scaled), gamma)[()]
            beta_tilde = _small_window(alpha, rho, np.asarray(beta_tilde))[()]
        return Moments(p, gamma, sine * near, beta_tilde)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(SQRT2 * erfinv(_fraction(p)))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return SQRT2 * erfinv(rng.uniform(-1, 1, size) * erf(self.alpha / SQRT2))


def _small_window(alpha: Any, rho: Any, lemma: np.ndarray) -> np.ndarray:
    """E[t sign(w0·x); |t| ≤ alpha]: Lemma 1's difference, which loses 2·log10(1/alpha) digits; alpha < 1/2 integrated.

    2 ∫_0^alpha t pdf(t) erf(tau t/√2) dt; past tau t = 9 the erf is 1 and the rest is elementary.
    """
    small = np.broadcast_to(alpha < 0.5, lemma.shape)
    _, tau = _sin_tan(rho)
    alpha, tau = (np.broadcast_to(x, lemma.shape)[small] for x in (alpha, tau))
    steep = np.minimum(np.abs(tau) * alpha, 9.0)
    end = np.where(steep < 9.0, alpha, 9.0 / np.maximum(np.abs(tau), 1.0))
    x, weights = _gauss(40)
    t = end[:, None] * x
    integral = end * ((t * np.exp(-(t**2) / 2) * erf(steep[:, None] * x / SQRT2)) @ weights)
    rest = -np.exp(-(end**2) / 2) * np.expm1(-(alpha - end) * (alpha + end) / 2)
    result = np.array(lemma)
    result[small] = np.sign(tau) * 2 * PDF0 * (integral + rest)
    return result


@dataclass(frozen=True)
class KeepEasy(Rule):
    """q = 1[|t| > alpha] (Lemma 2), the complement of keep-hard."""

    alpha: Real

    def __post_init__(self) -> None:
        require("alpha", self.alpha, np.asarray(self.alpha) > 0, _THRESHOLD)
        require("alpha", self.alpha, erfc(self.alpha / SQRT2) > np.finfo(float).tiny,
                "be below 37 for keep-easy: the kept fraction underflows")  # fmt: skip

    @property
    def breakpoints(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read-only in both
        return (float(self.alpha),)

    def keep_probability(self, t: Any) -> Any:
        return (np.abs(t) > self.alpha).astype(float)

    def moments(self, rho: Real) -> Moments:
        """Lemma 2 as sums of positive tails rather than as all-kept minus keep-hard."""
        alpha = np.asarray(self.alpha, float)
        sine, tau = _sin_tan(rho)
        with np.errstate(divide="ignore"):
            tail = erfc(alpha / sine / SQRT2)
        beta_tilde = 2 * PDF0 * (rho * tail + np.exp(-(alpha**2) / 2) * erf(tau * alpha / SQRT2))
        return Moments(erfc(alpha / SQRT2), gammaincc(1.5, alpha**2 / 2), 2 * PDF0 * sine * tail, beta_tilde)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        require("keep", _fraction(p), np.asarray(p) < 1, "be below 1 for keep-easy: keep-all keeps all")
        return cls(SQRT2 * erfcinv(p))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        magnitude = SQRT2 * erfcinv((1 - rng.random(size)) * erfc(self.alpha / SQRT2))
        return np.where(rng.random(size) < 0.5, -magnitude, magnitude)


@dataclass(frozen=True)
class Random(Rule):
    """q = p, whatever t."""

    p: Real

    def __post_init__(self) -> None:
        _fraction(self.p)

    def keep_probability(self, t: Any) -> Any:
        return np.full(np.shape(t), self.p)

    def moments(self, rho: Real) -> Moments:
        sine, _ = _sin_tan(rho)
        p = np.asarray(self.p, float)
        return Moments(p, p, 2 * PDF0 * p * sine, 2 * PDF0 * p * rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        return cls(p)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.standard_normal(size)


@dataclass(frozen=True)
class KeepAll(Rule):
    """q = 1: no selection."""

    def keep_probability(self, t: Any) -> Any:
        return np.ones(np.shape(t))

    def moments(self, rho: Real) -> Moments:
        return Random(1.0).moments(rho)

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        require("keep", p, np.asarray(p) == 1, "be 1 for keep-all")
        return cls()

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.standard_normal(size)


@dataclass(frozen=True)
class Entropy(Rule):
    """q ∝ exp(omega·H(sigmoid(kappa t))), H the binary entropy in nats: the law that entropy guidance aims at.

    Scaled to max q = 1: exp(omega (H - ln 2)) for omega ≥ 0 (hard rows), exp(omega H) for omega < 0 (easy rows).
    """

    omega: Real
    kappa: Real = 1.0

    def __post_init__(self) -> None:
        require("omega", self.omega, np.isfinite(self.omega), "be finite")
        require("kappa", self.kappa, (np.asarray(self.kappa) > 0) & np.isfinite(self.kappa),
                "be positive: it is the slope of the logit in t")  # fmt: skip

    def keep_probability(self, t: Any) -> Any:
        omega = np.asarray(self.omega, float)
        return np.exp(np.minimum(omega, 0) * np.log(2) - omega * entropy_deficit(self.kappa * t))

    @classmethod
    def with_keep_fraction(cls, p: Real, kappa: Real = 1.0) -> Self:
        """omega ≥ 0 such that a fraction p is kept: Newton on ln p(omega), convex and decreasing, from the left."""
        target = np.log(_fraction(p))
        omega = np.zeros(np.broadcast_shapes(np.shape(p), np.shape(kappa)))
        t, weights = half_line()
        deficit = entropy_deficit(np.asarray(kappa)[..., None] * t)
        for _ in range(200):
            tilted = weights * np.exp(-omega[..., None] * deficit)
            kept = tilted.sum(-1)
            step = (np.log(kept) - target) * kept / (tilted * deficit).sum(-1)
            omega = np.maximum(omega + step, 0)
            if np.all(np.abs(step) <= 1e-14 * omega):
                break
        rule = cls(omega[()], kappa)
        off = np.max(np.abs(rule.moments(0.0).p / p - 1))
        if not off < 1e-9:
            raise ConvergenceError(f"omega for keep = {p}, kappa = {kappa}: the kept fraction is off by {off:.1e}")
        return rule


def entropy_deficit(logit: Any) -> Any:
    """ln 2 - H(sigmoid(logit)) in nats, accurate where it is small: logit²/8 at 0, ln 2 at ±inf."""
    half = np.minimum(np.abs(logit) / 2, 20.0)  # beyond, ln 2 to rounding
    return half * np.tanh(half) - np.log1p(np.sinh(half) ** 2) / 2


@dataclass(frozen=True)
class SymmetricRule(Rule):
    """Any symmetric q with values in [0, 1], called on positive t. Name in `breakpoints` the t > 0 where it jumps."""

    q: Callable[[np.ndarray], Any]
    breakpoints: tuple[float, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]  # a field here

    def _parameters(self) -> dict[str, Any]:
        return {}

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return self

    def keep_probability(self, t: Any) -> Any:
        q = np.asarray(self.q(np.abs(t)), float)
        require("q(t)", q, (q >= 0) & (q <= 1), "lie in [0, 1]: it is a probability")
        return q


@dataclass(frozen=True)
class Direct(Rule):
    """Rows drawn from the distribution that `rule` selects, all kept: the direct strategy. n counts these rows.

    The same learner as pruning a pool of n/p rows with `rule`, lam being p times as large there.
    """

    rule: Rule

    def _parameters(self) -> dict[str, Any]:
        return self.rule._parameters()

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return type(self)(self.rule._map(function))

    def keep_probability(self, t: Any) -> Any:
        raise InputError(f"direct draws from {self.rule} have no keep probability: they are not N(0, 1) to begin with")

    def moments(self, rho: Real) -> Moments:
        p, gamma, beta, beta_tilde = self.rule.moments(rho)
        return Moments(np.ones_like(p), gamma / p, beta / p, beta_tilde / p)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return self.rule.draw(rng, size)


def _moments_by_quadrature(rule: Rule, rho: Real) -> Moments:
    """Moments of any q by composite Gauss-Legendre rules of two orders; their difference certifies the result."""
    _, tau = _sin_tan(rho)
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


@lru_cache
def half_line(breakpoints: tuple[float, ...] = (), order: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t > 0 and weights with Σ weights·f(t) = E[f(|G|)], G ~ N(0, 1), up to t = 39 where the density underflows.

    Gauss-Legendre on unit panels, dyadic ones from 1 down to 2^-45 (so any scale around 0 is resolved), cut at
    `breakpoints`.
    """
    edges = np.unique(np.r_[0, 0.5 ** np.arange(45, 0, -1), np.arange(1, 40), [b for b in breakpoints if b < 39]])
    x, weights = _gauss(order)
    t = edges[:-1, None] + np.diff(edges)[:, None] * x
    return t.ravel(), (np.diff(edges)[:, None] * weights * 2 * PDF0 * np.exp(-(t**2) / 2)).ravel()


@lru_cache
def _gauss(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, weights = np.polynomial.legendre.leggauss(order)
    return (x + 1) / 2, weights / 2


def _fraction(p: Real) -> Real:
    require("keep", p, (np.asarray(p) > 0) & (np.asarray(p) <= 1), "lie in (0, 1]: it is the kept fraction of the pool")
    return p


RULES: dict[str, type[Rule]] = {
    "keep-hard": KeepHard,
    "keep-easy": KeepEasy,
    "keep-all": KeepAll,
    "random": Random,
    "entropy": Entropy,
}


def make_rule(name: str, *, alpha: Real = None, keep: Real = None, omega: Real = None, kappa: Real = 1.0) -> Rule:
    """The rule called `name` from the parameter that fixes it: alpha or keep, for entropy omega or keep."""
    if name not in RULES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULES)}")
    own = {"keep-hard": "alpha", "keep-easy": "alpha", "entropy": "omega"}.get(name)
    given = {"alpha": alpha, "keep": keep, "omega": omega}
    named = [key for key, value in given.items() if value is not None]
    if name == "keep-all" and not named:
        return KeepAll()
    if named not in ([own], ["keep"]):
        wanted = f"exactly one of {own} and keep" if own else "keep and nothing else"
        raise InputError(f"rule {name} takes {wanted}; given: {', '.join(named) or 'nothing'}")
    if name == "entropy":
        return Entropy(omega, kappa) if omega is not None else Entropy.with_keep_fraction(keep, kappa)
    return RULES[name].with_keep_fraction(keep) if alpha is None else RULES[name](alpha)  # pyright: ignore[reportCallIssue]  # alpha is for keep-hard and keep-easy only
