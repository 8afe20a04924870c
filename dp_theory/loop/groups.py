"""Rows that join a problem together: selected along fixed directions or by a learner, or planned; and how their labels
are flipped.

Labels may be wrong near the boundary (ours): P(flip | z) = 2 eps Φ(-|z|/width) (T8.1), with the labeller's own margin
z. Given the t that a rule sees, z = drift + blur·ζ, and E[1, ζ, ζ²; observed label | t] is closed (T8.4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtr

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    MAX_VALUE,
    Array,
    ByValue,
    Float,
    Real,
    numbers,
    of_arrays,
    quoted,
    require,
    require_in,
    require_kind,
    require_number,
    require_positive_number,
    set_breaks,
    set_numbers,
)
from dp_theory.numerics.quadrature import PDF0, pdf
from dp_theory.rules import KeepAll, KeepHard, Rule

PLAIN = KeepAll()
Weight = Callable[..., ArrayLike]  # (t, y) -> values, or (y) where the rule sees no direction

SIZE = "the rows of a round, in units of n"
_WEIGHT = f"be at least 0 and finite, up to {MAX_VALUE:g}"
# An eigenvalue of a covariance that is not below 0, but for rounding.
_ROUNDED = 1e-12
_MOMENTS_ALONE = "rows that are known by their moments alone cannot be drawn or fitted: give a rule"
# A test error from which on the threshold kappa·tan(πE) of a window no longer grows.
MAX_ERROR = 0.499
# A labeller with a smaller part off the directions lies in their span.
IN_THE_SPAN = 1e-14
# An angle between labeller and selector of which the cosine, which closed forms take, has lost digits.
_LOST = 1e-3


# -- flips -------------------------------------------------------------------------------------------------------------

# A width from which flips are uniform, to about as many digits.
WIDEST = 1e6
# The least width that is looked for.
_NARROWEST = 1e-9


@dataclass(frozen=True)
class BoundaryFlips:
    """Flips with P(flip | z) = 2 eps Φ(-|z|/width), for `flip` of a `Group` or a `PracticeProblem`.

    2 eps of the rows have the sign of z + width·noise for their label, the others that of z. Limits: eps = 0 and
    width → 0 are clean labels. width → ∞ flips all labels with probability eps.

    Parameters
    ----------
    width
        Where labels become sure, in standard deviations of the labeller's margin.
    eps
        Probability of a flip at the boundary. At 1/2 the label there is a coin's.

    Raises
    ------
    InputError
        For parameters outside their domain.
    """

    width: float
    eps: float = 0.5

    def __post_init__(self) -> None:
        set_numbers(self, "width", "eps")
        require_in(f"(0, {WIDEST:g}]", "it is where labels become sure, in deviations", width=self.width)
        require_in("[0, 1/2]", "it is a probability", eps=self.eps)

    @classmethod
    def of_share(cls, share: float, eps: float = 0.5) -> "BoundaryFlips":
        """The flips whose width gives `share` of the plain rows a wrong label; 0 are clean labels."""
        (share,) = require_number(share=share)
        if share == 0:
            return cls(_NARROWEST, 0.0)
        min_share, max_share = (cls(width, eps).share for width in (_NARROWEST, WIDEST))
        must = f"be 0, or lie above {min_share:.3g} and below {max_share:.3g}, of the narrowest and the widest flips"
        require("share", share, min_share < share < max_share, must)
        return cls(float(np.tan(np.pi * share / (2 * eps))), eps)

    def __call__(self, margin: Real) -> Real:
        return 2 * self.eps * ndtr(-np.abs(margin) / self.width)

    @property
    def share(self) -> float:
        """The share of plain rows with a wrong label (T8.5)."""
        return 2 * self.eps * float(np.arctan(self.width)) / np.pi

    @property
    def signal(self) -> float:
        """E[y z] (T8.6): all that ridge regression on plain rows knows of their labels."""
        return 2 * PDF0 * float(1 - 2 * self.eps + 2 * self.eps / np.hypot(1, self.width))


Flips = float | BoundaryFlips


def check_flips(flip: Flips) -> None:
    """A probability or BoundaryFlips."""
    if not isinstance(flip, BoundaryFlips):
        require_number(flip=flip)
        require_in("[0, 1]", "it is a probability", flip=flip)


def chance_of_flip(flip: Flips, margin: Real) -> Real:
    """P(flip | the labeller's margin)."""
    return flip(margin) if isinstance(flip, BoundaryFlips) else flip


def softness(flip: Flips, blur: float) -> float:
    """The width of the labels' step, in units of the drift."""
    return float(np.hypot(blur, flip.width)) if isinstance(flip, BoundaryFlips) else blur


def draw_labels(flip: Flips, margin: Float[Array, " rows"], rng: np.random.Generator) -> Float[Array, " rows"]:
    """Labels ±1."""
    wrong = rng.random(len(margin)) < chance_of_flip(flip, margin)
    return np.where(margin >= 0, 1.0, -1.0) * np.where(wrong, -1.0, 1.0)


def observed_labels(flip: Flips, drift: Float[Array, " N"], blur: float) -> Float[Array, "2 3 N"]:
    """E[1, ζ, ζ²; observed label s | t] for s = 1 and s = -1, where the labeller's margin is drift + blur·ζ (T2.11)."""
    true = _signs(drift, blur, 1.0)
    if isinstance(flip, BoundaryFlips):
        whole = softness(flip, blur)
        return true + 2 * flip.eps * (_signs(drift, whole, blur / whole) - true)
    return true + flip * (true[::-1] - true) if flip else true


def _signs(drift: Array, deviation: float, correlation: float) -> Array:
    """E[1, ζ, ζ²; s·x > 0] for x ~ N(drift, deviation²), correlated with ζ."""
    b = np.clip(drift / max(deviation, 1e-200), -40, 40)  # Φ(-40) = 0 in double precision
    density = correlation * pdf(b)
    bent = correlation * b * density
    above, below = ndtr(b), ndtr(-b)
    return np.array([[above, density, above - bent], [below, -density, below + bent]])


# -- rows --------------------------------------------------------------------------------------------------------------


class SelectedRows(ByValue):
    """What groups and additions share."""

    keep: float | Rule | Weight
    weight: float | Weight
    breaks: Sequence[float]
    has_direction: bool  # whether the rule sees one

    def check_rule(self) -> None:
        set_breaks(self)
        if isinstance(self.keep, Rule) and self.keep.shape:
            shown = quoted(self.keep)
            raise InputError(f"keep = {shown} has the shape {self.keep.shape}: give one problem for each number")

    @property
    def has_functions(self) -> bool:
        return callable(self.weight) or (callable(self.keep) and not isinstance(self.keep, Rule))

    def select(
        self, t: Float[Array, " rows"], y: Float[Array, " rows"]
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """Keep probability and weight of each row; functions are checked here, because they are the user's."""

        def of_rows(name: str, given: float | Weight) -> Array:
            value = of_arrays(name, given, *([t] if self.has_direction else []), y) if callable(given) else given
            return np.broadcast_to(np.asarray(value, float), y.shape)

        kept = of_rows("keep", self.keep.keep_probability(t) if isinstance(self.keep, Rule) else self.keep)
        weights = of_rows("weight", self.weight)
        require("keep", kept, (kept >= 0) & (kept <= 1 + 1e-12), "lie in [0, 1]: it is a probability")
        require("weight", weights, (weights >= 0) & (weights <= MAX_VALUE), _WEIGHT)
        return kept, weights

    def jumps(self) -> list[float]:
        """The threshold of every jump, on either side: what is named, 0, and those of a rule."""
        of_rule = self.keep.breakpoints() if isinstance(self.keep, Rule) else ()
        thresholds = {sign * float(b) for b in [*of_rule, *self.breaks] for sign in (-1, 1)}
        return sorted(filter(np.isfinite, thresholds | ({0.0} if self.has_direction else set())))


@dataclass(frozen=True)
class Group(SelectedRows):
    """`ratio`·n candidate rows that share a labeller, a flip rate and a rule.

    Parameters
    ----------
    ratio
        Candidate rows of the group over n, positive.
    labeller
        Direction (d,) that labels the rows. None is the problem's truth.
    flip
        Probability that a label is flipped, or BoundaryFlips, if that depends on the labeller's margin.
    along
        The direction (d,) whose projection t the rule sees. () for none.
    keep
        Probability that a row is kept, in [0, 1]: a number, a function (t, y), of y alone without a direction, or a
        `Rule` of numbers.
    weight
        Weight q of a kept row, from 0 to 1e15: a number or such a function.
    breaks
        Where these functions jump in t. 0 always counts as a jump, and so do a rule's own breakpoints. Forgotten breaks
        cost time.

    Raises
    ------
    InputError
        For parameters outside their domain, and for a rule without a direction.
    """

    ratio: float = 1.0
    labeller: ArrayLike | None = None
    flip: Flips = 0.0
    along: ArrayLike = ()
    keep: float | Rule | Weight = 1.0
    weight: float | Weight = 1.0
    breaks: Sequence[float] = ()

    def __post_init__(self) -> None:
        require_number(ratio=self.ratio)
        check_flips(self.flip)
        numbers("along", self.along)
        require("ratio", self.ratio, 0 < self.ratio < np.inf, "be positive: it is the group's candidate rows over n")
        if isinstance(self.keep, Rule) and not self.has_direction:
            raise InputError(f"keep = {self.keep} sees one direction, but along has none")
        if not isinstance(self.keep, Rule) and not callable(self.keep):
            require_number(keep=self.keep)
            require_in("[0, 1]", "it is a probability", keep=self.keep)
        if not callable(self.weight):
            require_number(weight=self.weight)
            require("weight", self.weight, 0 <= self.weight <= MAX_VALUE, _WEIGHT)
        self.check_rule()

    @property
    def has_direction(self) -> bool:
        return np.size(self.along) > 0

    def candidates_at(self, keep_fraction: float) -> float:
        return self.ratio


@dataclass(frozen=True)
class Addition(SelectedRows):
    """The rows that one round adds, selected by the scores of its learner.

    Exactly one of `candidates` and `kept` gives the size of the round.

    Parameters
    ----------
    candidates
        Rows that the learner looks at, in units of n, positive.
    kept
        Rows that are kept, in units of n, positive. As many candidates are drawn as this takes.
    keep
        A `Rule`, or a function (t, observed y) -> probability.
    weight
        Weight c of a kept row in the training loss: a number or a function (t, y) -> weight.
    breaks
        The |t| at which the functions `keep` and `weight` jump. Finding a jump that is not named costs time.
    flip
        How labels of these rows are flipped, where that differs from the problem's.

    Raises
    ------
    InputError
        For a size or a weight that is not positive, and for a `keep` that is neither a rule nor a function.

    Examples
    --------
    >>> from dp_theory import Addition, KeepHard
    >>> Addition(kept=1.0, keep=KeepHard(0.3)).candidates_at(keep_fraction=0.25)
    4.0
    """

    candidates: float | None = None
    kept: float | None = None
    keep: Rule | Weight = PLAIN
    weight: float | Weight = 1.0
    breaks: Sequence[float] = ()
    flip: Flips | None = None
    has_direction = True

    def __post_init__(self) -> None:
        if self.flip is not None:
            check_flips(self.flip)
        sizes = {"candidates": self.candidates, "kept": self.kept}
        given = {name: size for name, size in sizes.items() if size is not None}
        if len(given) != 1:
            raise InputError("an addition takes exactly one of candidates and kept, its size in units of n")
        require_positive_number(SIZE, **given)
        require_kind("keep", self.keep, Rule | Callable, "a rule or a function (t, y) -> probability")
        if not callable(self.weight):
            require_positive_number("it counts the row in the loss", weight=self.weight)
        self.check_rule()

    def candidates_at(self, keep_fraction: float) -> float:
        require("kept fraction", keep_fraction, keep_fraction > 0, f"be positive: {self} keeps no row")
        if self.candidates is not None:
            return self.candidates
        assert self.kept is not None, "checked when made"
        return float(self.kept) / keep_fraction


@dataclass(frozen=True)
class MeasuredRows(SelectedRows):
    """Rows that a round adds, known by the means over a sample of them. They have the weight 1.

    t is a row's score by the selecting learner, and ζ its coordinate along the labeller off that learner; off both the
    rows must be N(0, I). In the first pool t is the labeller's own score and ζ does not matter.

    Parameters
    ----------
    kept
        Rows, in units of n, positive.
    linear
        The means of y·(t, ζ), (2,).
    second
        The means of (t, ζ)(t, ζ)ᵀ, (2, 2).

    Raises
    ------
    InputError
        For means that no rows have, and where such rows are to be drawn, or fitted under another loss than the square.
    """

    kept: float
    linear: ArrayLike
    second: ArrayLike
    keep: ClassVar[float] = 1.0
    weight: ClassVar[float] = 1.0
    flip: ClassVar[None] = None
    has_direction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive_number(SIZE, kept=self.kept)
        linear, second = numbers("linear", self.linear), numbers("second", self.second)
        if linear.shape != (2,) or second.shape != (2, 2):
            raise InputError(f"linear and second have shapes {linear.shape} and {second.shape}, not (2,) and (2, 2)")
        rest = second - np.outer(linear, linear)
        if not (np.abs(rest - rest.T).max() <= _ROUNDED and np.linalg.eigvalsh(rest).min() >= -_ROUNDED):
            raise InputError("no rows have these: second - linear linearᵀ must be symmetric and positive semidefinite")

    def candidates_at(self, keep_fraction: float) -> float:
        return self.kept

    def jumps(self) -> list[float]:
        raise InputError(_MOMENTS_ALONE)

    def select(self, t: Array, y: Array) -> tuple[Array, Array]:
        raise InputError(_MOMENTS_ALONE)


@dataclass(frozen=True)
class Window:
    """A plan: every round keeps the rows on which its learner is likely to err.

    These are the rows with |t| ≤ kappa·tan(πE), where E is the learner's test error.

    Parameters
    ----------
    kappa
        Width of the window in units of tan(πE), positive.
    kept
        Rows that are kept, in units of n, positive.

    Raises
    ------
    InputError
        If `kappa` or `kept` is not positive.
    """

    kappa: float = 1.0
    kept: float = 1.0

    def __post_init__(self) -> None:
        require_positive_number("the threshold is kappa·tan(πE)", kappa=self.kappa)
        require_positive_number(SIZE, kept=self.kept)

    def __call__(self, test_error: float) -> Addition:
        """The rows to add after a stage of this test error."""
        alpha = self.kappa * np.tan(np.pi * min(test_error, MAX_ERROR))
        return Addition(kept=self.kept, keep=KeepHard(alpha))


Rows = Addition | MeasuredRows
RoundPlan = Rows | Callable[[float], Rows]  # the rows, or a function that names them from the test error


def score_axes(labeller: Float[Array, " k"], along: Float[Array, " k"]) -> tuple[Float[Array, "k 2"], float, float]:
    """The directions of t and ζ, slope and kappa (ρ and r of (T3.14)): the labeller's margin is slope·t + kappa·ζ.

    The direction of ζ is 0 where the labeller has none of its own.
    """
    along = along / np.linalg.norm(along)
    slope = float(labeller @ along)
    rest = labeller - slope * along
    rest = rest - (rest @ along) * along  # again: if the labeller nearly lies along it, the first left eps/kappa
    kappa = float(np.linalg.norm(rest))
    return np.column_stack([along, rest / kappa if kappa > IN_THE_SPAN else 0 * rest]), slope, kappa


@dataclass(frozen=True, eq=False)
class PlacedRows:
    """Rows with the `score_axes` of their labeller and rule; a rule that sees nothing is shown its labeller's score."""

    rows: Any  # Group, Addition or MeasuredRows
    flip: Flips
    frame: Float[Array, "k 2"]
    slope: float
    kappa: float

    @classmethod
    def of(cls, rows: Any, flip: Flips, labeller: Float[Array, " k"], along: Float[Array, " k"]) -> "PlacedRows":
        """`flip` is that of the problem, where the rows have none of their own."""
        return cls(rows, flip if rows.flip is None else rows.flip, *score_axes(labeller, along))

    @property
    def needs_quadrature(self) -> bool:
        nearly_one = isinstance(self.rows.keep, Rule) and IN_THE_SPAN < self.kappa < _LOST
        with_rule = self.rows.has_functions or isinstance(self.flip, BoundaryFlips) or nearly_one
        return not isinstance(self.rows, MeasuredRows) and with_rule


# keep probabilities and weights of a projection t and an observed label y = ±1, which rules cannot be


@dataclass(frozen=True)
class Agree:
    """1[y·t > 0]: the label-aware rule, which keeps a row if the direction's own label is the observed one."""

    def __call__(self, t: Real, y: Real) -> Real:
        return np.asarray(np.multiply(y, t) > 0, dtype=float)


@dataclass(frozen=True)
class Verifier:
    """σ(slope·y·t), with the logistic function σ: a verifier's probability that the observed label is right.

    Parameters
    ----------
    slope
        Of the logit in t, any number.
    """

    slope: float

    def __post_init__(self) -> None:
        set_numbers(self, "slope")

    def __call__(self, t: Real, y: Real) -> Real:
        return expit(self.slope * np.multiply(y, t))
