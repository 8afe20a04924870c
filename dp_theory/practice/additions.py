"""What one round of practice adds: rows that a rule selects, rows that were measured, or a plan that decides later.

A learner looks at a row through its score t, standardised so that t ~ N(0, 1) over plain rows, and the row's observed
label y = ±1. Sizes are in units of n, the normaliser of a `PracticeProblem`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, Real, numbers, require, require_breaks, require_magnitude, require_number
from dp_theory.rules import KeepAll, KeepHard, Rule
from dp_theory.span.flips import Flips, check_flips
from dp_theory.span.span_problem import select

if TYPE_CHECKING:
    from jaxtyping import Float

PLAIN = KeepAll()
Function = Callable[[Array, Array], ArrayLike]  # of (t, y)

LARGEST_ERROR = 0.499  # a test error from which on the threshold kappa·tan(πE) of a window no longer grows
_ASYMMETRY = 1e-9  # relative rounding error that a matrix of second moments may have


@dataclass(frozen=True)
class Addition:
    """The rows that one round adds, selected by a rule.

    Exactly one of `candidates` and `kept` gives the size of the round.

    Parameters
    ----------
    candidates
        Number of rows that the learner looks at, in units of n.
    kept
        Number of rows that are kept, in units of n. As many candidates are drawn as this takes.
    keep
        Which rows are kept: a `Rule`, whose parameters may be arrays, or a function (t, y) -> probability, which may
        depend on the observed label too.
    weight
        Weight c of a kept row in the training loss: a number or a function (t, y) -> weight.
    breaks
        The |t| at which the functions `keep` and `weight` jump. A `Rule` knows its own jumps. A jump that is not named
        is found if it does not lie in a feature too narrow to be seen, but finding it costs time.
    flip
        How labels of these rows are flipped, where that differs from the problem's flips. The rows that a learner asks
        for may be labelled worse than plain rows.

    Raises
    ------
    InputError
        For a size or a weight that is not positive, and for a `keep` that is neither a rule nor a function.

    Examples
    --------
    >>> from dp_theory import Addition, KeepHard
    >>> Addition(kept=1.0, keep=KeepHard(0.3)).shape
    ()
    """

    candidates: float | None = None
    kept: float | None = None
    keep: Rule | Function = PLAIN
    weight: float | Function = 1.0
    breaks: tuple[float, ...] = ()
    flip: Flips | None = None

    def __post_init__(self) -> None:
        if self.flip is not None:
            check_flips(self.flip)
        if (self.candidates is None) == (self.kept is None):
            raise InputError("an addition takes exactly one of candidates and kept, its size in units of n")
        for name, size in (("candidates", self.candidates), ("kept", self.kept)):
            if size is not None:
                _require_size(name, size)
        if not isinstance(self.keep, Rule) and not callable(self.keep):
            raise InputError(f"keep = {self.keep!r} must be a rule or a function (t, y) -> probability")
        if not callable(self.weight):
            require_number(weight=self.weight)
            require("weight", self.weight, 0 < self.weight < np.inf, "be positive and finite")
            require_magnitude(weight=self.weight)
        require_breaks(self.breaks)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rule's parameters."""
        return self.keep.shape if isinstance(self.keep, Rule) else ()

    def at(self, index: tuple[int, ...], shape: tuple[int, ...]) -> Addition:
        """The addition with the scalar rule at `index`, after the rule has been broadcast to `shape`."""
        return replace(self, keep=self.keep.at(index, shape)) if isinstance(self.keep, Rule) else self

    @property
    def has_functions(self) -> bool:
        """Whether the moments of the kept rows need quadrature, because `keep` or `weight` is a function."""
        return callable(self.weight) or not isinstance(self.keep, Rule)

    def flips(self, problem: Flips) -> Flips:
        """How labels of these rows are flipped in a problem that has the flips `problem`."""
        return problem if self.flip is None else self.flip

    def jumps(self) -> tuple[Real, ...]:
        """The |t| at which `keep` or `weight` is not smooth."""
        return (*self.breaks, *(self.keep.breakpoints() if isinstance(self.keep, Rule) else ()))

    def candidates_at(self, keep_fraction: float) -> float:
        """The number of candidates in units of n, when the rule keeps this fraction of them."""
        if self.candidates is not None:
            return self.candidates
        assert self.kept is not None, "checked when made"
        return self.kept / keep_fraction

    def select(
        self, t: Float[np.ndarray, " rows"], y: Float[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Keep probabilities and weights of rows with scores t and observed labels y.

        Raises InputError where a probability lies outside [0, 1] or a weight is negative.
        """
        return select(self.keep, self.weight, t[None], y)


@dataclass(frozen=True)
class Window:
    """A plan: every round keeps the rows on which its learner is likely to err.

    These are the rows with |t| ≤ alpha = kappa·tan(πE), where E is the learner's test error and tan(πE) the margin
    within which a learner of that error errs. All kept rows of a round have the weight alpha^-power.

    Parameters
    ----------
    kappa
        Width of the window in units of tan(πE).
    kept
        Number of rows that are kept, in units of n.
    power
        Exponent of the weight. With power = 2 every round's rows count equally along the direction of their learner.

    Raises
    ------
    InputError
        If `kappa` or `kept` is not positive, or `power` is not finite.
    """

    kappa: float = 1.0
    kept: float = 1.0
    power: float = 0.0

    def __post_init__(self) -> None:
        require_number(kappa=self.kappa, kept=self.kept, power=self.power)
        require("kappa", self.kappa, 0 < self.kappa < np.inf, "be positive: the threshold is kappa·tan(πE)")
        require("power", self.power, np.isfinite(self.power), "be finite")
        require_magnitude(kappa=self.kappa, kept=self.kept)

    def __call__(self, test_error: float) -> Addition:
        """The rows to add after a stage of this test error. Raises InputError where the weight would be too large."""
        alpha = self.kappa * np.tan(np.pi * min(test_error, LARGEST_ERROR))
        with np.errstate(over="ignore"):  # the addition refuses such a weight
            weight = alpha**-self.power
        return Addition(kept=self.kept, keep=KeepHard(alpha), weight=weight)


@dataclass(frozen=True, eq=False)
class MeasuredRows:
    """The rows that one round adds, known by means over a sample of them rather than by a rule.

    They serve for rows that a pipeline made or chose with its learner in whatever way, provided that the rows are
    N(0, I) off the plane of the learner and the labeller. A learner of rows of weight 1 then depends on them only by
    the two means below. ζ is the row's coordinate in the direction of the labeller off the learner that selected. For
    the rows of the first pool, which no learner selected, t is the labeller's own score and ζ does not matter.

    Parameters
    ----------
    kept
        Number of the rows, in units of n.
    linear
        Mean of y·(t, ζ) over the rows.
    second
        Mean of (t, ζ)(t, ζ)ᵀ over the rows.

    Raises
    ------
    InputError
        For arrays of other shapes, for what is not finite, and for means that no rows can have.
    """

    kept: float
    linear: Array  # (2,); lists are taken, and shapes are checked below
    second: Array  # (2, 2)

    def __post_init__(self) -> None:
        require_number(kept=self.kept)
        _require_size("kept", self.kept)
        for name, shape in (("linear", (2,)), ("second", (2, 2))):
            value = numbers(name, getattr(self, name))
            if value.shape != shape:
                raise InputError(f"{name} has shape {value.shape}: it must be {shape}")
            require(name, value, np.isfinite(value), "be finite: it is a mean over rows")
            object.__setattr__(self, name, value)
        if not self._can_be_means():
            raise InputError(
                f"linear = {self.linear.tolist()} and second = {self.second.tolist()} are no rows' means of y(t, ζ) and"
                " (t, ζ)(t, ζ)ᵀ: the matrix must be symmetric, and no smaller than the square of the first"
            )

    def _can_be_means(self) -> bool:
        """Whether `second` is symmetric, and the second moments of (1, y t, y ζ) are a positive matrix."""
        trace = np.trace(self.second)
        moments = np.block([[np.ones((1, 1)), self.linear[None]], [self.linear[:, None], self.second]])
        symmetric = np.abs(self.second - self.second.T).max() <= _ASYMMETRY * trace
        return bool(symmetric and np.linalg.eigvalsh(moments)[0] >= -_ASYMMETRY * (1 + trace))

    @classmethod
    def of(cls, kept: float, t: Array, zeta: Array, y: Array) -> MeasuredRows:
        """The means over a sample of rows.

        Parameters
        ----------
        kept
            Number of rows that the round adds, in units of n.
        t, zeta
            Coordinates of the sampled rows (rows,), in units of the rows' standard deviation off the plane.
        y
            Labels ±1 of the sampled rows (rows,).

        Raises
        ------
        InputError
            For arrays of different lengths and for labels other than ±1.
        """
        t = numbers("t", t)
        zeta = numbers("zeta", zeta)
        y = numbers("y", y)
        if not t.shape == zeta.shape == y.shape or y.ndim != 1 or not y.size:
            raise InputError(f"t, zeta and y have shapes {t.shape}, {zeta.shape}, {y.shape}: give (rows,) of each")
        require("y", y, np.abs(y) == 1, "be -1 or 1: it is a row's label")
        view = np.stack([t, zeta])
        return cls(kept, view @ y / len(y), view @ view.T / len(y))


RoundRows = Addition | MeasuredRows
RoundPlan = RoundRows | Callable[[float], RoundRows]  # the rows, or a function that names them from the test error


def _require_size(name: str, size: float) -> None:
    """Raise InputError unless `size` is a positive number of rows in units of n."""
    require_number(**{name: size})
    require(name, size, 0 < size < np.inf, "be positive: the rows of a round, in units of n")
    require_magnitude(**{name: size})
