"""What the span recipe is asked: ridge or convex regression on selected, weighted, relabelled Gaussian rows (ours).

It generalises the paper's section 4: soft weights, verifiers, mixtures of groups with different rules, wrong labellers,
flipped labels, a general covariance and any convex loss. Conventions:

- Rows are x = Σ^½ z with z ~ N(0, I_d). Vectors are written in the eigenbasis of Σ, whose eigenvalues are `spectrum`.
  None is Σ = I. Then only the angles between directions matter, and vectors may be as short as these need.
- A rule sees the standardised projection t = x·w / ‖Σ^½ w‖ ~ N(0, 1), so that thresholds are the paper's α. It also
  sees the label y = ±1 *as observed*: sign(x·labeller), flipped with probability `flip`.
- ŵ = argmin (1/n) Σ_i q_i ℓ(ŵ·x_i; y_i) + (λ/2) ‖ŵ‖², the sum over kept rows with weights q_i. The square loss is
  (ŵ·x − y)²/2. n is a normaliser: group j has ratio_j·n candidate rows, and φ = d/n. With one group of ratio 1, n is
  the pool, as in Theorem 1.
- θ = Σ^½ ŵ. Its coordinates in the span of the special directions Σ^½ (truth, labellers, `along`) converge to a vector
  a, and the rest of it has the squared norm σ². The test error is angle(θ, Σ^½ truth) / π.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import orth

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    Real,
    common_shape,
    numbers,
    require,
    require_breaks,
    require_magnitude,
    require_number,
)
from dp_theory.ridge.problem import Problem
from dp_theory.rules import Rule
from dp_theory.span.flips import Flips, check_flips
from dp_theory.span.losses import SQUARE, Loss, require_loss

if TYPE_CHECKING:
    from jaxtyping import Float

Weight = Callable[..., ArrayLike]  # (t_1, ..., t_r, y) -> values, one t for each direction that the rule sees


def select(
    keep: float | Rule | Weight,
    weight: float | Weight,
    t: Float[np.ndarray, "r rows"],
    y: Float[np.ndarray, " rows"],
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Keep probability and weight of each row, whose projections are t and observed labels y.

    Raises InputError where a probability lies outside [0, 1], and where a weight is negative or not finite.
    """
    if isinstance(keep, Rule):
        probability = keep.keep_probability(t[0])
    elif callable(keep):
        probability = keep(*t, y)
    else:
        probability = keep
    kept = np.broadcast_to(np.asarray(probability, float), y.shape)
    weights = np.broadcast_to(np.asarray(weight(*t, y) if callable(weight) else weight, float), y.shape)
    require("keep", kept, (kept >= 0) & (kept <= 1 + 1e-12), "lie in [0, 1]: it is a probability")
    require("weight", weights, (weights >= 0) & np.isfinite(weights), "be at least 0 and finite")
    return kept, weights


@dataclass(frozen=True, eq=False)
class Group:
    """`ratio`·n candidate rows that share a labeller, a flip rate and a rule.

    Parameters
    ----------
    ratio
        Candidate rows of the group over n.
    labeller
        Direction (d,) that labels the rows. None is the problem's truth.
    flip
        Probability that a label is flipped, or BoundaryFlips, if that depends on the labeller's margin.
    along
        The direction (d,), or the r directions (r, d), whose projections t_1, ..., t_r the rule sees. () for none.
    keep
        Probability that a row is kept: a number, a function (t_1, ..., t_r, y), or a `Rule` of one direction, whose
        parameters may be arrays.
    weight
        Weight q of a kept row: a number or such a function.
    breaks
        Where these functions jump in t: numbers, or with several directions a sequence of numbers for each. 0 always
        counts as a jump, and so do a rule's own breakpoints. The certificate notices forgotten breaks: they cost
        accuracy.

    Raises
    ------
    InputError
        For parameters outside their domain, and where rule, directions and breaks do not match.
    """

    ratio: float = 1.0
    labeller: ArrayLike | None = None
    flip: Flips = 0.0
    along: ArrayLike = ()
    keep: float | Rule | Weight = 1.0
    weight: float | Weight = 1.0
    breaks: Sequence = ()

    def __post_init__(self) -> None:
        require_number(ratio=self.ratio)
        check_flips(self.flip)
        numbers("along", self.along)
        require("ratio", self.ratio, 0 < self.ratio < np.inf, "be positive: it is the group's candidate rows over n")
        directions = len(np.atleast_2d(self.along)) if np.size(self.along) else 0
        if isinstance(self.keep, Rule) and directions != 1:
            raise InputError(f"keep = {self.keep} sees one direction, but along has {directions}")
        if directions == 1:
            require_breaks(self.breaks)
        elif not isinstance(self.breaks, Sequence) or len(self.breaks) not in (0, directions):
            raise InputError(
                f"breaks = {self.breaks} must hold a sequence of thresholds for each of the {directions} "
                "directions in along"
            )
        else:
            for thresholds in self.breaks:
                require_breaks(thresholds)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rule's parameters."""
        return self.keep.shape if isinstance(self.keep, Rule) else ()

    def elements(self) -> np.ndarray:
        """The groups with scalar rules that this one stands for, as an array of objects of its shape."""
        found = np.empty(self.shape, object)
        for index in np.ndindex(self.shape):
            found[index] = replace(self, keep=self.keep.at(index, self.shape)) if isinstance(self.keep, Rule) else self
        return found

    def select(
        self, t: Float[np.ndarray, "r rows"], y: Float[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Keep probability and weight of each row, by the function `select` of this module."""
        return select(self.keep, self.weight, t, y)

    def jumps(self, directions: int) -> list[tuple[int, float]]:
        """(direction, threshold) of every jump of the rule, whose parameters must be numbers."""
        breaks = [self.breaks] if directions == 1 else self.breaks
        found = {(i, float(b)) for i, thresholds in enumerate(breaks) for b in thresholds}
        if isinstance(self.keep, Rule):
            for b in self.keep.breakpoints():
                if np.isfinite(b):
                    found |= {(0, -float(b)), (0, float(b))}
        found |= {(i, 0.0) for i in range(directions)}
        return sorted(found)


@dataclass(frozen=True, eq=False)
class SpanProblem:
    """Regression on a mixture of groups of rows. The head of this module states the conventions.

    Parameters
    ----------
    truth
        Direction w0 (d,) that decides the true label.
    groups
        The groups of rows, at least one.
    phi
        Aspect ratio d/n, positive. It broadcasts with lam and with the parameters of the groups' rules.
    lam
        Ridge, at least 0. 0 is the limit λ → 0+.
    spectrum
        Eigenvalues of Σ (d,), one for each entry of the vectors. None is Σ = I.
    loss
        SQUARE, LOGISTIC or another of dp_theory.span.losses.

    Raises
    ------
    InputError
        For a direction that is zero, not finite or of another length than the spectrum, and for parameters outside
        their domain.

    Examples
    --------
    Rows near the boundary of a selector at cosine .6 to the truth, a tenth of them with a flipped label:

    >>> from dp_theory import Group, KeepHard, SpanProblem, predict
    >>> hard = Group(along=(0.6, 0.8), keep=KeepHard(0.8), flip=0.1)
    >>> prediction = predict(SpanProblem((1.0, 0.0), [hard], phi=0.3, lam=0.02))
    >>> round(float(prediction.test_error), 4)
    0.2619
    """

    truth: ArrayLike
    groups: Sequence[Group]
    phi: Real
    lam: Real = 0.0
    spectrum: ArrayLike | None = None
    loss: Loss = SQUARE

    def __post_init__(self) -> None:
        phi = numbers("phi", self.phi)
        lam = numbers("lam", self.lam)
        numbers("truth", self.truth)
        spectrum = numbers("spectrum", self.eigenvalues)
        if not isinstance(self.groups, Sequence) or not all(isinstance(group, Group) for group in self.groups):
            raise InputError(f"groups = {self.groups!r} must be a list of Groups")
        require("phi", phi, (phi > 0) & np.isfinite(phi), "be positive and finite: it is d/n")
        require("lam", lam, (lam >= 0) & np.isfinite(lam), "be at least 0 and finite: 0 is the ridgeless limit")
        require_magnitude(phi=phi, lam=lam)
        require("spectrum", spectrum, (spectrum > 0) & np.isfinite(spectrum), "be positive and finite: Σ's eigenvalues")
        require_loss(self.loss)
        if not self.groups:
            raise InputError("groups is empty: give at least one group of rows")
        for name, vector in self._named_vectors():
            if np.shape(vector) != spectrum.shape:
                raise InputError(f"{name} has shape {np.shape(vector)}, truth and spectrum have {spectrum.shape}")
            if not (np.all(np.isfinite(vector)) and np.any(vector)):
                raise InputError(f"{name} = {vector} must be finite and not zero: it is a direction")
        self.shape  # noqa: B018 (raises where shapes do not broadcast)

    def _named_vectors(self) -> Iterator[tuple[str, ArrayLike]]:
        yield "truth", self.truth
        for group in self.groups:
            if group.labeller is not None:
                yield "labeller", group.labeller
        for group in self.groups:
            for row in np.atleast_2d(group.along):
                if np.size(row):
                    yield "along", row

    @classmethod
    def of(cls, problem: Problem) -> SpanProblem:
        """Theorem 1's problem. Its rho must be a number, because it places a direction."""
        rho = float(problem.rho)
        group = Group(along=(rho, np.sqrt((1 - rho) * (1 + rho))), keep=problem.rule)
        return cls((1.0, 0.0), (group,), problem.phi, problem.lam)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that phi, lam and the parameters of all rules broadcast to."""
        rules = {f"groups[{i}]": np.empty(group.shape) for i, group in enumerate(self.groups)}
        return common_shape(phi=self.phi, lam=self.lam, **rules)

    def cells(self) -> Iterator[SpanCell]:
        """The scalar problems that this one broadcasts to, in C order. Equal groups are one object."""
        phi = np.broadcast_to(np.asarray(self.phi, float), self.shape)
        lam = np.broadcast_to(np.asarray(self.lam, float), self.shape)
        groups: list[Any] = [np.broadcast_to(group.elements(), self.shape) for group in self.groups]
        for index in np.ndindex(self.shape):
            scalar = tuple(group[index] for group in groups)
            yield SpanCell(self, scalar, float(phi[index]), float(lam[index]), self.loss)

    @cached_property
    def eigenvalues(self) -> Float[np.ndarray, " d"]:
        """Eigenvalues of Σ."""
        return np.ones(np.size(self.truth)) if self.spectrum is None else np.asarray(self.spectrum, float)

    def whitened(self, vectors: ArrayLike) -> Float[np.ndarray, "r d"]:
        """Unit vectors along Σ^½ w, one row for each w of `vectors`, which is (d,) or (r, d)."""
        rows = np.sqrt(self.eigenvalues) * np.reshape(np.asarray(vectors, float), (-1, self.eigenvalues.size))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def directions(self, group: Group) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "r d"]]:
        """Whitened labeller and whitened `along` of a group."""
        labeller = self.truth if group.labeller is None else group.labeller
        return self.whitened(labeller)[0], self.whitened(group.along)

    @cached_property
    def basis(self) -> Float[np.ndarray, "d k"]:
        """U: an orthonormal basis of the span of all whitened directions."""
        rows = [self.whitened(self.truth)]
        rows += [self.directions(group)[0][None] for group in self.groups]
        rows += [self.directions(group)[1] for group in self.groups]
        return orth(np.concatenate(rows).T)


@dataclass(frozen=True, eq=False)
class SpanCell:
    """A scalar element of a `SpanProblem`, which has the directions and the spectrum, under the loss that it is to be
    solved for.
    """

    problem: SpanProblem
    groups: tuple[Group, ...]
    phi: float
    lam: float
    loss: Loss
