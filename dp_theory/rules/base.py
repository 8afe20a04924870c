"""What a selection rule is: which rows of the pool are kept, as a function q(t) of t = x·w_s/|w_s| ~ N(0, 1).

A rule keeps a row with probability q(t) in [0, 1], q(-t) = q(t). The asymptotics need four moments of it (`Moments`),
which are linear in q, so that 0 < q < 1 needs nothing new.

A rule is a file of this room, or a module of another package (entry point group deliberate_practice.rules), that
registers its class:

    @dataclass(frozen=True)
    class Mine(Rule):
        help, parameter = "rows that …", "alpha"
        alpha: Real

        def keep_probability(self, t): ...

    RULES.register("mine", Mine)

Everything that lists rules then lists it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import erf, gammainc

from dp_base.errors import ConvergenceError, InputError
from dp_base.registry import Registry
from dp_theory.numerics.checks import MOST_ROWS, ROUNDING, Real, common_shape, require, require_numbers, require_size
from dp_theory.numerics.quadrature import PDF0, half_line

RULES: Registry[type[Rule]] = Registry("rules", "dp_theory.rules")

SQRT2 = np.sqrt(2)
THRESHOLD = "be positive: it is the threshold on |x·w_s| in units of its standard deviation"
_ORDERS = (12, 20, 32, 48, 80, 128)  # of the quadrature of moments; taken in turn until two agree
_TOGETHER = 1 << 20  # normals of which a draw rejects at a time
_CELLS = 256  # integrated at a time, so that arrays of nodes stay small
_AGREED, _TOLERATED = 1e-13, 1e-9  # relative difference of two orders: good enough to stop at, and to accept in the end


class Moments(NamedTuple):
    """The constants of Theorem 1 (paper, section 4): arrays that broadcast.

    For G ~ N(0, 1), tau = rho/√(1 - rho²), y = sign(w0·x), and v ⟂ w_s the unit vector in the plane of w_s and w0.
    """

    p: Any  # E[q(G)], the kept fraction
    gamma: Any  # E[q(G) G²]
    beta: Any  # 2 E[q(G) pdf(tau G)] = E[q y (x·v)]
    beta_tilde: Any  # 2 E[q(G) cdf(tau G) G] = E[q y (x·w_s)]

    def flipped(self, flip: Any) -> Moments:
        """Those of labels flipped with probability `flip`, whatever x: what is linear in y shrinks by 1 - 2 flip."""
        clean = 1 - 2 * np.asarray(flip)
        return self._replace(beta=clean * self.beta, beta_tilde=clean * self.beta_tilde)


class Fourth(NamedTuple):
    """What the theorem at finite dimension needs beside `Moments`: E[q · of G = x·w_s, V = x·v and y], arrays."""

    t4: Any  # E[q G⁴]
    yt3: Any  # E[q y G³]
    yt2v: Any  # E[q y G² V]
    ytv2: Any  # E[q y G V²]
    yv3: Any  # E[q y V³]

    def flipped(self, flip: Any) -> Fourth:
        """Those of labels flipped with probability `flip`, as `Moments.flipped`."""
        clean = 1 - 2 * np.asarray(flip)
        return Fourth(self.t4, *(clean * moment for moment in self[1:]))


@dataclass(frozen=True)
class Rule:
    """Base of all rules: a frozen dataclass. Its parameters are numbers, or arrays that broadcast.

    A subclass defines `keep_probability` and, where q is not smooth, `breakpoints`. The rest has defaults: moments by
    quadrature, draws by rejection. Class variables say how the rule is made from options, and who compares it.

    help: what it keeps, in a line.
    parameter: the field that fixes it, an argument of `make_rule`, such as "alpha"; "keep" where nothing but the kept
        fraction does; None where nothing need. `keep` also fixes kinds that define `with_keep_fraction`.
    options: further arguments of `make_rule` that it takes.
    swept: whether `dp_theory.sweep` compares it by default, which takes `with_keep_fraction`. optimised: whether
        `dp_theory.budgets.optimum` seeks its best kept fraction, for which that and the moments must be quick over
        arrays.
    largest_keep: the largest kept fraction that `with_keep_fraction` takes.
    """

    help: ClassVar[str] = ""
    parameter: ClassVar[str | None] = None
    options: ClassVar[tuple[str, ...]] = ()
    swept: ClassVar[bool] = False
    optimised: ClassVar[bool] = False
    largest_keep: ClassVar[float] = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the parameters broadcast to."""
        return common_shape(**self.parameters())

    def parameters(self) -> dict[str, Real]:
        """The numbers that fix q, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def map(self, function: Callable[[Any], Any]) -> Self:
        """The rule whose parameters are function(parameter): this one reshaped, indexed or expanded."""
        changed = {name: function(value) for name, value in self.parameters().items()}
        return replace(self, **changed)

    def at(self, index: tuple[int, ...], shape: tuple[int, ...]) -> Self:
        """The scalar rule at `index` of this one broadcast to `shape`."""
        return self.map(lambda value: float(np.broadcast_to(value, shape)[index]))

    def keep_probability(self, t: Any) -> Any:
        """q(t), in [0, 1]; t and the parameters broadcast."""
        raise NotImplementedError

    def breakpoints(self) -> tuple[Real, ...]:
        """The t > 0 at which q is not smooth, for whoever integrates it: numbers, or arrays like the parameters."""
        return ()

    def moments(self, rho: Real) -> Moments:
        """The constants of Theorem 1 at rho; rho and the parameters broadcast.

        Raises ConvergenceError where quadrature fails, InputError where nothing is kept.
        """
        return self.moments_with_errors(rho)[0]

    def moments_with_errors(self, rho: Real) -> tuple[Moments, Moments]:
        """The moments at rho, and a bound of the relative error of each. Raises as `moments` does.

        The base integrates. A rule that has closed forms overrides this.
        """
        values, errors = by_quadrature(self, rho, _moment_integrands)
        return Moments(*values), Moments(*errors)

    def up_to_fourth(self, rho: Real) -> tuple[Moments, Moments, Fourth]:
        """`moments_with_errors`, and the moments of `Fourth`, for finite dimensions. Raises as `moments` does.

        The base integrates all at once. A rule that has closed forms overrides this.
        """
        values, errors = by_quadrature(self, rho, _fourth_integrands)
        return Moments(*values[:4]), Moments(*errors[:4]), Fourth(*values[4:])

    def fourth_moments(self, rho: Real) -> Fourth:
        """The moments of `Fourth` at rho. Raises as `moments` does."""
        return self.up_to_fourth(rho)[2]

    @classmethod
    def with_keep_fraction(cls, p: Real) -> Self:
        """The rule of this kind that keeps a fraction p of the pool, 0 < p ≤ 1; p may be an array.

        Raises InputError for another p. The base does so for every p: a kind need not define this.
        """
        raise InputError(f"{cls.__name__} cannot be made from the fraction that it keeps")

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """`size` values of t from the selected distribution, density ∝ q(t)·pdf(t). Scalar parameters only.

        The base rejects, and draws size/p normals to do so, not all at once. Raises InputError for more than MOST_ROWS.
        """
        p = float(self.moments(0.0).p)
        require_size("size/p", size / p, 0, MOST_ROWS, f"it is the number of rows of which {self} keeps {size}")
        kept, missing = [], size
        while missing > 0:
            t = rng.standard_normal(min(int(1.1 * missing / p) + 16, _TOGETHER))
            t = t[rng.random(t.size) < self.keep_probability(t)][:missing]
            kept.append(t)
            missing -= t.size
        return np.concatenate(kept) if kept else np.empty(0)


def sin_tan(rho: Real) -> tuple[Any, Any]:
    """√(1 - rho²) and tau = rho/√(1 - rho²), which is ±inf at rho = ±1."""
    rho = np.asarray(rho, float)
    sine = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(divide="ignore"):
        return sine, rho / sine


def kept_fraction(p: Real) -> Real:
    """p, if it is a kept fraction. Raises InputError unless 0 < p ≤ 1."""
    require_numbers(keep=p)
    require("keep", p, (np.asarray(p) > 0) & (np.asarray(p) <= 1), "lie in (0, 1]: it is the kept fraction of the pool")
    return p


def by_quadrature(rule: Rule, rho: Real, integrands: Callable[[Any, Any], list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """E[q(G) f(|G|)] for several f by composite Gauss-Legendre rules of rising order, and bounds of relative errors.

    integrands(t, b): every f at t > 0, where b = tau t; each of one sign. So the relative difference of two orders
    bounds the error of the lower one, and with it that of the higher. Both results are (integrands, *S), S the shape
    that rho and the rule's parameters broadcast to. Raises ConvergenceError where the highest orders differ by more
    than 1e-9, InputError where an integral of f = 1, the first, is 0.
    """
    shape = np.broadcast_shapes(rule.shape, np.shape(rho))
    rule, rho = rule.map(lambda value: np.broadcast_to(value, shape).ravel()), np.broadcast_to(rho, shape).ravel()
    parts = []
    for start in range(0, rho.size, _CELLS):
        cells = slice(start, start + _CELLS)
        parts.append(_refined(rule.map(lambda value, cells=cells: value[cells]), rho[cells], integrands))
    values, errors = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    return values.reshape(-1, *shape), errors.reshape(-1, *shape)


def _refined(rule: Rule, rho: np.ndarray, integrands: Callable[[Any, Any], list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Of a block of cells (cells,): (integrands, cells) each. Cells that agree are not computed again."""
    values = _with_order(rule, rho, _ORDERS[0], integrands)
    errors = np.full(values.shape, np.inf)
    left = np.arange(rho.size)
    for order in _ORDERS[1:]:
        fine = _with_order(rule.map(lambda value, left=left: value[left]), rho[left], order, integrands)
        errors[:, left] = _relative_difference(values[:, left], fine)
        values[:, left] = fine
        left = left[errors[:, left].max(0) >= _AGREED]
        if not left.size:
            break
    first = rule.map(lambda value: value[errors.max(0).argmax()])
    require("keep_fraction", values[0], values[0] > 0, f"be positive: {first} keeps nothing")
    if not errors.max() < _TOLERATED:
        raise ConvergenceError(
            f"moments of {first} are certain to {errors.max():.1e} only: does q jump off its breakpoints?"
        )
    return values, errors + 16 * ROUNDING  # a sum of a thousand terms may add as much


def _with_order(rule: Rule, rho: np.ndarray, order: int, integrands: Callable[[Any, Any], list[Any]]) -> np.ndarray:
    """The integrals (integrands, cells) by panels of one order."""
    tau = sin_tan(rho)[1][:, None]
    t, weights = half_line(rule.breakpoints(), order)
    mass = weights * rule.map(lambda value: np.asarray(value, float)[..., None]).keep_probability(t)
    return np.array([np.broadcast_to((mass * f).sum(-1), rho.shape) for f in integrands(t, np.clip(tau * t, -40, 40))])


def _moment_integrands(t: Any, b: Any) -> list[Any]:
    """Of `Moments`."""
    return [1.0, t**2, 2 * PDF0 * np.exp(-(b**2) / 2), t * erf(b / SQRT2)]


def _fourth_integrands(t: Any, b: Any) -> list[Any]:
    """Of `Moments`, and those of `Fourth`."""
    square, density, signed = t**2, 2 * PDF0 * np.exp(-(b**2) / 2), t * erf(b / SQRT2)  # of V at ±b; t·E[y | t]
    third = t * np.sign(b) * gammainc(1.5, b**2 / 2)  # signed - t·b·density, which cancels at a small b
    ours = [square * square, square * signed, square * density, third, (b**2 + 2) * density]
    return [1.0, square, density, signed, *ours]


def _relative_difference(coarse: Real, fine: Real) -> Any:
    """|coarse - fine|/|fine|, 0 where they are equal."""
    difference = np.abs(coarse - fine)
    return np.divide(difference, np.abs(fine), out=np.zeros(np.shape(difference)), where=difference > 0)
