"""What a selection rule is: a row of the pool is kept with probability q(t), t = x·w_s/|w_s| ~ N(0, 1), and q(-t) =
q(t).

A rule is a file of this room, or a module of another package (entry point group deliberate_practice.rules):

    @dataclass(frozen=True)
    class Mine(Rule):
        help = "rows that …"
        alpha: Real

        def keep_probability(self, t): ...

    RULES.register("mine", Mine)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import erf, gammainc

from dp_base.errors import ConvergenceError, InputError
from dp_base.registry import Registry
from dp_theory.numerics.checks import (
    MAX_ROWS,
    ROUNDING,
    Array,
    ByValue,
    Float,
    Real,
    common_shape,
    numbers,
    require,
    require_in,
    require_size,
    sine_of,
)
from dp_theory.numerics.quadrature import PDF0, half_line

SQRT2 = np.sqrt(2)


class Moments(NamedTuple):
    """The constants of Theorem 1. They broadcast.

    Attributes
    ----------
    p
        E[q(G)], the kept fraction.
    gamma
        E[q(G) G²].
    beta
        2 E[q(G) pdf(tau G)] = E[q y V].
    beta_tilde
        2 E[q(G) cdf(tau G) G] = E[q y G].

    References
    ----------
    Section 4 of the paper.
    """

    p: Real
    gamma: Real
    beta: Real
    beta_tilde: Real

    def flipped(self, flip: Real) -> "Moments":
        clean = 1 - 2 * np.asarray(flip)
        return self._replace(beta=clean * self.beta, beta_tilde=clean * self.beta_tilde)

    def per_kept_row(self) -> "Moments":
        return Moments(np.ones_like(self.p), *(moment / self.p for moment in self[1:]))


class Fourth(NamedTuple):
    """E[q G⁴], E[q y G³], E[q y G² V], E[q y G V²], E[q y V³]."""

    t4: Real
    yt3: Real
    yt2v: Real
    ytv2: Real
    yv3: Real

    def flipped(self, flip: Real) -> "Fourth":
        clean = 1 - 2 * np.asarray(flip)
        return Fourth(self.t4, *(clean * moment for moment in self[1:]))

    def per_kept_row(self, p: Real) -> "Fourth":
        return Fourth(*(moment / p for moment in self))


def sine_and_tau(rho: Real) -> tuple[Real, Real]:
    """√(1 - rho²) and tau, which is ±inf at rho = ±1."""
    rho = np.asarray(rho, float)
    sine = sine_of(rho)
    with np.errstate(divide="ignore"):
        return sine, rho / sine


def moment_integrands(t: Real, b: Real) -> list[Real]:
    """Functions of t = |G| whose means are `Moments`; b = tau·t."""
    return [1.0, t**2, 2 * PDF0 * np.exp(-(b**2) / 2), t * erf(b / SQRT2)]


def fourth_integrands(t: Real, b: Real) -> list[Real]:
    """The same for `Moments` and `Fourth`."""
    square = t**2
    density = 2 * PDF0 * np.exp(-(b**2) / 2)  # of V at ±b
    signed = t * erf(b / SQRT2)  # t·E[y | t]
    third = t * np.sign(b) * gammainc(1.5, b**2 / 2)  # signed - t·b·density, which cancels where b is small
    fourth = [square * square, square * signed, square * density, third, (b**2 + 2) * density]
    return [1.0, square, density, signed, *fourth]


RULES: "Registry[type[Rule]]" = Registry("rules", "dp_theory.rules")

# Orders of the quadrature of moments, taken in turn until two agree.
_ORDERS = (12, 20, 32, 48, 80, 128)
# Relative difference of two orders at which no further order is taken.
_AGREED = 1e-13
# Relative error of moments that is accepted by default.
TOLERANCE = 1e-9
# Cells integrated at a time, so that arrays of nodes stay small.
_CELLS = 256
# Normals that a draw makes at a time.
_TOGETHER = 1 << 20
# For rounding, of a probability.
_ROOM = 1e-12
# |tau·t| from which the integrands do not change any more.
_FARTHEST = 40
# |tau| that stands for infinity, since nodes may lie at 0.
_STEEPEST = 1e200

Integrands = Callable[[Any, Any], list[Any]]  # (t, b = tau·t) -> the value of each integrand


@dataclass(frozen=True)
class Rule(ByValue):
    """Base of all rules: a frozen dataclass, whose fields are numbers or arrays that broadcast.

    A subclass defines `keep_probability` and, where q is not smooth, `breakpoints`. `make_rule` and the commands take
    its fields; a kept fraction stands for the first in kinds with `with_keep_fraction`.

    Attributes
    ----------
    help
        What the rule keeps, in a line.
    swept, optimised
        Whether `dp_theory.sweep` compares the rule by default, and whether `dp_theory.optimum` seeks its best kept
        fraction. Both need `with_keep_fraction`.
    largest_keep
        The largest kept fraction that `with_keep_fraction` takes.
    """

    help: ClassVar[str] = ""
    swept: ClassVar[bool] = False
    optimised: ClassVar[bool] = False
    largest_keep: ClassVar[float] = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return common_shape(**self.parameters())

    def parameters(self) -> dict[str, Real]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def map(self, function: Callable[[Any], Any]) -> Self:
        """The rule whose parameters are function(parameter)."""
        changed = {name: function(value) for name, value in self.parameters().items()}
        return replace(self, **changed)

    def at(self, index: tuple[int, ...], shape: tuple[int, ...]) -> Self:
        return self.map(lambda value: float(np.broadcast_to(value, shape)[index]))

    def keep_probability(self, t: Real) -> Real:
        """q(t), in [0, 1], the same at t and -t."""
        raise NotImplementedError

    def breakpoints(self) -> tuple[Real, ...]:
        """The t > 0 at which q is not smooth."""
        return ()

    def moments(self, rho: Real) -> Moments:
        """The constants of Theorem 1, for cosines rho in [-1, 1]; ConvergenceError where they are less certain than
        TOLERANCE.
        """
        require_in("[-1, 1]", "it is cos(w_s, w0)", rho=rho)
        moments, errors = self.moments_with_errors(rho)
        require_certain(self, errors)
        return moments

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """The moments, and a bound of the relative error of each. The base integrates them."""
        values, errors = _by_quadrature(self, rho, moment_integrands)
        return Moments(*values), Moments(*errors)

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        values, errors = _by_quadrature(self, rho, fourth_integrands)
        return Moments(*values[:4]), Moments(*errors[:4]), Fourth(*values[4:])

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """The rule of this kind that keeps a fraction p, 0 < p ≤ 1. A kind need not have it."""
        raise InputError(f"{cls.__name__} cannot be made from the fraction that it keeps")

    def draw(self, rng: np.random.Generator, size: int) -> Float[Array, " size"]:
        """Values of t with density proportional to q(t)·pdf(t), by rejection."""
        p = share_of(self)
        require_size("size/p", size / p, 0, MAX_ROWS, f"it is the number of rows of which {self} keeps {size}")
        kept = []
        missing = size
        while missing > 0:
            t = rng.standard_normal(min(int(1.1 * missing / p) + 16, _TOGETHER))
            t = t[rng.random(t.size) < probability_of(self, t)][:missing]
            kept.append(t)
            missing -= t.size
        return np.concatenate(kept) if kept else np.empty(0)


@dataclass(frozen=True)
class ThresholdRule(Rule):
    """A rule with a threshold on |t|."""

    alpha: Real

    def __post_init__(self) -> None:
        must = "be positive: it is the threshold on |x·w_s| in units of its standard deviation"
        require("alpha", self.alpha, numbers("alpha", self.alpha) > 0, must)

    def breakpoints(self) -> tuple[Real, ...]:
        return (self.alpha,)


A_RULE = "a rule, such as KeepHard(alpha=0.8) or SymmetricRule(q)"


def require_certain(rule: Any, errors: Sequence[Real], tolerance: float | None = None) -> None:
    """Moments whose relative errors are within the tolerance, by default TOLERANCE."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    error = max(map(np.max, errors))
    if not error <= tolerance:
        raise ConvergenceError(
            f"moments of {rule} are certain to {error:.1e} only, tolerance = {tolerance:g}: does q jump off its breaks?"
        )


def probability_of(rule: Rule, t: Real) -> Array:
    """The rule's keep probability of rows, once it is known to be one."""
    q = np.asarray(rule.keep_probability(t), float)
    require(f"keep_probability of {type(rule).__name__}", q, np.abs(q - 0.5) < 0.5 + _ROOM, "lie in [0, 1]")
    return q


def kept_fraction(p: Real) -> Real:
    """p in double precision, once it is known to be in (0, 1]."""
    require_in("(0, 1]", "it is the kept fraction of the pool", keep=p)
    p = np.asarray(p, float)
    return p if p.ndim else p.item()


@lru_cache(256)
def share_of(rule: Rule) -> float:
    """The fraction of rows that a rule keeps, which a simulation asks for in every trial."""
    return float(rule.moments(0.0).p)


def _by_quadrature(rule: Rule, rho: Real, integrands: Integrands) -> tuple[Array, Array]:
    """E[q(G) f(|G|)] for several f, and bounds of their relative errors, by Gauss-Legendre panels of rising order.

    integrands(t, b) has every f at t > 0 and b = tau·t. The first f is 1, and each is of one sign.
    """
    shape = np.broadcast_shapes(rule.shape, np.shape(rho))
    rule = rule.map(lambda value: np.broadcast_to(value, shape).ravel())
    rho = np.broadcast_to(rho, shape).ravel()
    parts = []
    for start in range(0, rho.size, _CELLS):
        here = itemgetter(slice(start, start + _CELLS))
        parts.append(_by_rising_order(rule.map(here), here(rho), integrands))
    values, errors = (np.concatenate(part, axis=-1).reshape(-1, *shape) for part in zip(*parts, strict=True))
    return values, errors


def _by_rising_order(rule: Rule, rho: np.ndarray, integrands: Integrands) -> tuple[np.ndarray, np.ndarray]:
    values = _with_order(rule, rho, _ORDERS[0], integrands)
    errors = np.full(values.shape, np.inf)
    left = np.arange(rho.size)
    for order in _ORDERS[1:]:
        fine = _with_order(rule.map(itemgetter(left)), rho[left], order, integrands)
        off = np.abs(values[:, left] - fine)
        errors[:, left] = np.divide(off, np.abs(fine), out=np.zeros(off.shape), where=off > 0)
        values[:, left] = fine
        left = left[errors[:, left].max(0) >= _AGREED]
        if not left.size:
            break
    worst = rule.map(itemgetter(errors.max(0).argmax()))
    require("keep_fraction", values[0], values[0] > 0, f"be positive: {worst} keeps nothing")
    return values, errors + 16 * ROUNDING  # a sum of a thousand terms may add as much


def _with_node_axis(rule: Rule) -> Rule:
    return rule.map(lambda value: np.asarray(value, float)[..., None])


def _with_order(rule: Rule, rho: np.ndarray, order: int, integrands: Integrands) -> np.ndarray:
    _, tau = sine_and_tau(rho)
    t, weights = half_line(rule.breakpoints(), order)
    q, mirrored = (_with_node_axis(rule).keep_probability(sign * t) for sign in (1, -1))
    if not (np.allclose(q, mirrored) and np.abs(q - 0.5).max() < 0.5 + _ROOM):
        raise InputError(f"{type(rule).__name__}: keep_probability must be in [0, 1], and the same at t and -t")
    mass = weights * q
    b = np.clip(tau.clip(-_STEEPEST, _STEEPEST)[:, None] * t, -_FARTHEST, _FARTHEST)
    return np.array([np.broadcast_to((mass * f).sum(-1), rho.shape) for f in integrands(t, b)])
