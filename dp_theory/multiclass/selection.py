"""Which rows a selector of K classes keeps, given its scores s (rows, K) of them, each s_k ~ N(0, 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv

from dp_base.errors import InputError
from dp_theory.multiclass.hardness import FARTHEST, Hardness, Margin, Uncertainty, threshold
from dp_theory.multiclass.sobol import sets_of_normals
from dp_theory.numerics.checks import Array, require, require_number, require_size, require_whole

NAMES = ("keep-all", "random", "keep-hard", "keep-easy", "entropy")
MOST_CLASSES = 100
_ROWS = 12  # log2 of those in each set, over which a kept fraction is averaged


@runtime_checkable
class Selection(Protocol):
    """Keeps a row with a probability that depends on its scores (rows, K), whatever the order of the classes."""

    @property
    def sees_scores(self) -> bool:
        """Whether it depends on them at all."""
        ...

    def keep_probability(self, scores: Array) -> Array:
        """(rows, K) -> (rows,)."""
        ...

    def keep_fraction(self, classes: int) -> Array:
        """Its mean: independent estimates (SETS,), or (1,) if it is known."""
        ...

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        """Masses (rows,), and factors (rows,) that move each row along its ray to where the mass is.

        radius (rows,): chi-distributed with `freedom` degrees, whatever the direction; scores grow in proportion to it.
        """
        ...


@dataclass(frozen=True)
class Share:
    """A random fraction `keep` of the rows."""

    keep: float = 1.0
    sees_scores = False

    def __post_init__(self) -> None:
        require_number(keep=self.keep)
        require("keep", self.keep, 0 < self.keep <= 1, "lie in (0, 1]: it is the kept fraction of the pool")

    def keep_probability(self, scores: Array) -> Array:
        """`keep`."""
        return np.full(len(scores), self.keep)

    def keep_fraction(self, classes: int) -> Array:
        """`keep`."""
        return np.array([self.keep])

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        """Rows stay where they are."""
        return self.keep_probability(scores), np.ones(len(scores))


@dataclass(frozen=True)
class Threshold:
    """Rows whose hardness exceeds `limit`, or with hard=False the others."""

    limit: float
    hardness: Hardness
    hard: bool = True
    sees_scores = True

    def __post_init__(self) -> None:
        require_number(limit=self.limit)

    def keep_probability(self, scores: Array) -> Array:
        """1 or 0."""
        return np.where((self.hardness.of(scores) > self.limit) == self.hard, 1.0, 0.0)

    def keep_fraction(self, classes: int) -> Array:
        """How often the limit is exceeded, or is not."""
        exceeded = self.hardness.exceeded(self.limit, classes)
        return exceeded if self.hard else 1 - exceeded

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        """Radii become quantiles of the chi distribution on the kept side of the threshold, whose mass it has."""
        edge = self.hardness.reach(scores / radius[:, None], self.limit) ** 2 / 2
        cdf, inverse = (gammainc, gammaincinv) if self.hard else (gammaincc, gammainccinv)
        mass = cdf(freedom / 2, edge)
        place = np.sqrt(2 * inverse(freedom / 2, mass * cdf(freedom / 2, radius**2 / 2)))
        return mass, np.minimum(place, FARTHEST) / radius


@dataclass(frozen=True)
class Tilted:
    """Rows in proportion to exp(omega · H), H their entropy, scaled so that the largest probability is 1."""

    omega: float
    hardness: Uncertainty = field(default_factory=Uncertainty)
    sees_scores = True

    def __post_init__(self) -> None:
        require_number(omega=self.omega)
        require("omega", self.omega, np.isfinite(self.omega), "be finite")

    def keep_probability(self, scores: Array) -> Array:
        """exp(omega (H − ln K)), or exp(omega H) for omega < 0."""
        largest = np.log(scores.shape[1]) if self.omega > 0 else 0.0
        return np.exp(self.omega * (self.hardness.of(scores) - largest))

    def keep_fraction(self, classes: int) -> Array:
        """The mean probability, of each set by itself."""
        return np.array([self.keep_probability(scores).mean() for scores in sets_of_normals(classes, _ROWS)])

    def along_rays(self, scores: Array, radius: Array, freedom: int) -> tuple[Array, Array]:
        """Rows stay where they are."""
        return self.keep_probability(scores), np.ones(len(scores))


def make_selection(
    rule: str,
    classes: int,
    *,
    keep: float | None = None,
    omega: float | None = None,
    by: str = "entropy",
    kappa: float = 1.0,
) -> Selection:
    """The selection called `rule`: keep-all, random, keep-hard, keep-easy or entropy, which keeps a fraction `keep`.

    by: whether keep-hard and keep-easy compare the 'entropy' of softmax(kappa · s) or the 'margin'. omega: instead of
    `keep`, for the rule entropy; positive: hard rows, negative: easy ones. Raises InputError for another rule, for a
    number of classes that is none, and for options that do not belong to the rule.
    """
    require_classes(classes)
    hardness = Uncertainty(kappa)
    if rule not in NAMES:
        raise InputError(f"unknown rule '{rule}': one of {', '.join(NAMES)}")
    if by not in ("entropy", "margin"):
        raise InputError(f"by = '{by}' must be 'entropy' or 'margin'")
    if rule == "keep-all" and (keep, omega) != (None, None):
        raise InputError("rule 'keep-all' takes neither keep nor omega: it keeps all rows")
    if rule == "keep-all":
        return Share()
    if omega is not None:
        if rule != "entropy" or keep is not None:
            raise InputError("omega is for the rule entropy, instead of keep")
        return Tilted(omega, hardness)
    if keep is None:
        raise InputError(f"rule '{rule}' needs keep" + (", or omega instead" if rule == "entropy" else ""))
    share = Share(keep)
    if keep == 1 or rule == "random":
        return share
    if rule == "entropy":
        return Tilted(_tilt(keep, classes, hardness), hardness)
    measure = Margin() if by == "margin" else hardness
    hard = rule == "keep-hard"
    return Threshold(threshold(measure, keep if hard else 1 - keep, classes), measure, hard)


def require_classes(classes: Any) -> None:
    """Raises InputError unless it is a whole number from 2 to MOST_CLASSES."""
    require_whole(classes=classes)
    require_size("classes", classes, 2, MOST_CLASSES, "it is the number of classes")


def _tilt(keep: float, classes: int, hardness: Uncertainty) -> float:
    """The omega ≥ 0 that keeps a fraction `keep`. Raises InputError where no reasonable one does."""
    from scipy.optimize import brentq

    most = 1e4

    def excess(omega: float) -> float:
        return Tilted(omega, hardness).keep_fraction(classes).mean() - keep

    require("keep", keep, excess(most) < 0, f"be larger for the rule entropy with {classes} classes")
    return float(brentq(excess, 0.0, most, rtol=1e-13))  # pyright: ignore[reportArgumentType]
