"""Which rows a selector of K classes keeps, by their scores s (K,), where each s_k ~ N(0, 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv

from dp_base.errors import InputError
from dp_theory.multiclass.hardness import FARTHEST, Uncertainty, sets_of_normals, threshold
from dp_theory.numerics.checks import Array, require, require_number, require_size, require_whole
from dp_theory.rules import read_rule, value_of

if TYPE_CHECKING:
    from jaxtyping import Float

TAKES = {  # what each rule takes
    "keep-all": (),
    "random": ("keep",),
    "keep-hard": ("keep", "kappa"),
    "keep-easy": ("keep", "kappa"),
    "entropy": ("keep", "omega", "kappa"),
}
MOST_CLASSES = 100
_ROWS = 12  # log2 of the rows in each set, over which a kept fraction is averaged
_MOST_TILT = 1e4  # the largest omega that is tried for a kept fraction


class Selection:
    """Keeps a row with a probability of its scores, whatever the order of the classes."""

    sees_scores = True

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        raise NotImplementedError

    def keep_fraction(self, classes: int) -> Float[Array, " estimates"]:
        """From each set of quasi-random points, or a single number where it is known."""
        return np.array([self.keep_probability(scores).mean() for scores in sets_of_normals(classes, _ROWS)])

    def along_rays(
        self, scores: Float[Array, "rows K"], radius: Float[Array, " rows"], freedom: int
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """The probability of each row, and the factor that moves its radius to where rows are kept."""
        return self.keep_probability(scores), np.ones(len(scores))


@dataclass(frozen=True)
class Share(Selection):
    """Keeps a random fraction of the rows."""

    keep: float = 1.0  # the fraction, in (0, 1]
    sees_scores = False

    def __post_init__(self) -> None:
        require_number(keep=self.keep)
        require("keep", self.keep, 0 < self.keep <= 1, "lie in (0, 1]: it is the kept fraction of the pool")

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        return np.full(len(scores), self.keep)

    def keep_fraction(self, classes: int) -> Float[Array, "1"]:
        return np.array([self.keep])


@dataclass(frozen=True)
class Threshold(Selection):
    """Keeps the rows on one side of a threshold."""

    limit: float  # the threshold on the hardness
    hardness: Uncertainty  # the measure of hardness
    hard: bool = True  # whether the rows above the limit are kept, or the others

    def __post_init__(self) -> None:
        require_number(limit=self.limit)

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        return np.where((self.hardness.of(scores) > self.limit) == self.hard, 1.0, 0.0)

    def keep_fraction(self, classes: int) -> Float[Array, " estimates"]:
        exceeded = self.hardness.exceeded(self.limit, classes)
        return exceeded if self.hard else 1 - exceeded

    def along_rays(
        self, scores: Float[Array, "rows K"], radius: Float[Array, " rows"], freedom: int
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        edge = self.hardness.reach(scores / radius[:, None], self.limit) ** 2 / 2
        cdf = gammainc if self.hard else gammaincc
        quantile = gammaincinv if self.hard else gammainccinv
        mass = cdf(freedom / 2, edge)
        moved = np.sqrt(2 * quantile(freedom / 2, mass * cdf(freedom / 2, radius**2 / 2)))
        return mass, np.minimum(moved, FARTHEST) / radius


@dataclass(frozen=True)
class Tilted(Selection):
    """Keeps rows in proportion to exp(omega · H), where H is their entropy; the largest probability is 1."""

    omega: float  # prefers hard rows where it is positive, and easy ones where it is negative
    hardness: Uncertainty = field(default_factory=Uncertainty)  # the entropy

    def __post_init__(self) -> None:
        require_number(omega=self.omega)
        require("omega", self.omega, np.isfinite(self.omega), "be finite")

    def keep_probability(self, scores: Float[Array, "rows K"]) -> Float[Array, " rows"]:
        largest = np.log(scores.shape[1]) if self.omega > 0 else 0.0
        return np.exp(self.omega * (self.hardness.of(scores) - largest))


def make_selection(rule: str, classes: int, **values: Any) -> Selection:
    """The selection that a name and its parameters stand for.

    Parameters
    ----------
    rule
        A name of TAKES, or RULE@FIELD=VALUE@…, such as "keep-hard@kappa=2".
    classes
        Number of classes K.
    values
        What the rule takes besides; those that are None do not count.

        - keep: the fraction of the rows that is kept.
        - omega: the tilt of the rule entropy, instead of `keep`. It prefers hard rows where it is positive.
        - kappa: the slope of the logits in the scores, by default 1.

    Returns
    -------
    Selection
        The rule, with the threshold or the tilt that keeps the fraction.

    Raises
    ------
    InputError
        For another rule, for another number of classes than 2 to MOST_CLASSES, and for what the rule does not take.
    """
    require_classes(classes)
    name, given = read_rule(rule, _takes, **values)
    numbers = {key: value_of(rule, key, value) for key, value in given.items()}
    if name == "keep-all":
        return Share()
    hardness = Uncertainty(numbers.get("kappa", 1.0))
    if ("keep" in numbers) == ("omega" in numbers):
        raise InputError(f"rule {name} takes " + ("exactly one of omega and keep" if name == "entropy" else "a keep"))
    if "omega" in numbers:
        return Tilted(numbers["omega"], hardness)
    keep = numbers["keep"]
    share = Share(keep)
    if keep == 1 or name == "random":
        return share
    if name == "entropy":
        return Tilted(_tilt(keep, classes, hardness), hardness)
    hard = name == "keep-hard"
    return Threshold(threshold(hardness, keep if hard else 1 - keep, classes), hardness, hard)


def _takes(name: str) -> tuple[str, ...]:
    if name not in TAKES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(TAKES)}")
    return TAKES[name]


def require_classes(classes: Any) -> None:
    """From 2 to MOST_CLASSES."""
    require_whole(classes=classes)
    require_size("classes", classes, 2, MOST_CLASSES, "it is the number of classes")


def _tilt(keep: float, classes: int, hardness: Uncertainty) -> float:
    from scipy.optimize import brentq

    def excess(omega: float) -> float:
        return Tilted(omega, hardness).keep_fraction(classes).mean() - keep

    require("keep", keep, excess(_MOST_TILT) < 0, f"be larger for the rule entropy with {classes} classes")
    return float(brentq(excess, 0.0, _MOST_TILT, rtol=1e-13))  # pyrefly: ignore[bad-argument-type]
