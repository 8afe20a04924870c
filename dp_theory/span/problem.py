"""The span recipe: exact limits of ridge regression on selected, weighted, relabelled Gaussian rows.

One computation gives Theorem 1 and its λ → 0 limit (Corollary 1), soft weights, verifiers, mixtures of groups with
different rules, wrong labellers, flipped labels and a general covariance. It goes beyond the paper's Section 4.

Conventions
- Rows x = Σ^½ z with z ~ N(0, I_d). Vectors are written in the eigenbasis of Σ, whose eigenvalues are `spectrum`.
  `spectrum=None` is Σ = I; then nothing but the angles between directions matters, so that vectors may be as short
  as these angles need (two entries for two directions).
- A rule sees the standardised projection t = x·w / ‖Σ^½ w‖ ~ N(0, 1), so that thresholds are the paper's α, and the
  label y = ±1 *as observed*: sign(x·labeller), flipped with probability `flip`.
- ŵ = argmin (1/2n) Σ_i q_i (ŵ·x_i − y_i)² + (λ/2) ‖ŵ‖², the sum over kept rows with weights q_i. n is a normaliser:
  group j has ratio_j · n candidate rows, and φ = d/n. With one group of ratio 1, n is the pool, as in Theorem 1.
- θ = Σ^½ ŵ. Its coordinates in the span of the special directions Σ^½ (truth, labellers, `along`) converge to a vector
  a, the rest of it has squared norm σ²; test error = angle(θ, Σ^½ truth) / π.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import orth

from dp_base.errors import InputError
from dp_theory.checks import Array, Real, require
from dp_theory.problem import Problem
from dp_theory.rules import Rule

Weight = Callable[..., ArrayLike]  # (t_1, ..., t_r, y) -> values, one t per direction in `along`


@dataclass(frozen=True, eq=False)
class Group:
    """`ratio`·n candidate rows that share a labeller, a flip rate and a rule.

    labeller: direction that labels the rows; None: the problem's truth. flip: probability that a label is flipped.
    along: the direction, or the r directions as rows, whose projections t_1, ..., t_r the rule sees; () for none.
    keep: probability that a row is kept: a number, a function (t_1, ..., t_r, y), or a `Rule` of one direction.
    weight: q of a kept row: a number or such a function.
    breaks: where these functions jump in t: numbers, or with several directions a sequence of numbers for each
        (0 is always one, and so are a Rule's own). Forgotten ones cost accuracy, which the certificate notices.
    """

    ratio: float = 1.0
    labeller: ArrayLike | None = None
    flip: float = 0.0
    along: ArrayLike = ()
    keep: float | Rule | Weight = 1.0
    weight: float | Weight = 1.0
    breaks: Sequence = ()

    def __post_init__(self) -> None:
        require("ratio", self.ratio, 0 < self.ratio < np.inf, "be positive: it is the group's candidate rows over n")
        require("flip", self.flip, 0 <= self.flip <= 1, "lie in [0, 1]: it is a probability")
        directions = len(np.atleast_2d(self.along)) if np.size(self.along) else 0
        if isinstance(self.keep, Rule) and directions != 1:
            raise InputError(f"keep = {self.keep} sees one direction, but along has {directions}")
        if len(self.breaks) and directions != 1 and len(self.breaks) != directions:
            raise InputError(f"breaks = {self.breaks} must hold a sequence of thresholds for each of the {directions} "
                             "directions in along")  # fmt: skip

    def select(self, t: Array, y: Array) -> tuple[Array, Array]:
        """Keep probability and weight of rows with projections t (r, rows) and observed labels y (rows,)."""
        if isinstance(self.keep, Rule):
            keep = self.keep.keep_probability(t[0])
        else:
            keep = self.keep(*t, y) if callable(self.keep) else self.keep
        weight = self.weight(*t, y) if callable(self.weight) else self.weight
        keep, weight = (np.broadcast_to(np.asarray(values, float), y.shape) for values in (keep, weight))
        require("keep", keep, (keep >= 0) & (keep <= 1 + 1e-12), "lie in [0, 1]: it is a probability")
        require("weight", weight, (weight >= 0) & np.isfinite(weight), "be at least 0 and finite")
        return keep, weight

    def jumps(self, directions: int) -> list[tuple[int, float]]:
        """(direction, threshold) of every jump of the rule."""
        breaks = [self.breaks] if directions == 1 else self.breaks
        named = {(i, float(b)) for i, thresholds in enumerate(breaks) for b in thresholds}
        if isinstance(self.keep, Rule):
            named |= {(0, s * float(b)) for b in self.keep.breakpoints() if np.isfinite(b) for s in (-1, 1)}
        return sorted(named | {(i, 0.0) for i in range(directions)})


@dataclass(frozen=True, eq=False)
class SpanProblem:
    """Ridge (or a convex loss) on a mixture of groups of rows; the module's head states the conventions.

    truth: direction w0 that decides the true label. phi = d/n > 0 and lam ≥ 0: numbers or arrays that broadcast;
    lam = 0 is the limit λ → 0+. spectrum: the eigenvalues of Σ, one per entry of the vectors.

    Raises InputError for a direction that is zero, not finite or of another length than the spectrum, and for
    parameters outside their domain.
    """

    truth: ArrayLike
    groups: Sequence[Group]
    phi: Real
    lam: Real = 0.0
    spectrum: ArrayLike | None = None

    def __post_init__(self) -> None:
        phi, lam, spectrum = np.asarray(self.phi, float), np.asarray(self.lam, float), self.eigenvalues
        require("phi", phi, (phi > 0) & np.isfinite(phi), "be positive and finite: it is d/n")
        require("lam", lam, (lam >= 0) & np.isfinite(lam), "be at least 0 and finite: 0 is the ridgeless limit")
        require("spectrum", spectrum, (spectrum > 0) & np.isfinite(spectrum), "be positive and finite: Σ's eigenvalues")
        if not self.groups:
            raise InputError("groups is empty: give at least one group of rows")
        vectors = [("truth", self.truth)]
        vectors += [("labeller", group.labeller) for group in self.groups if group.labeller is not None]
        vectors += [("along", row) for group in self.groups for row in np.atleast_2d(group.along) if np.size(row)]
        for name, vector in vectors:
            if np.shape(vector) != spectrum.shape:
                raise InputError(f"{name} has shape {np.shape(vector)}, truth and spectrum have {spectrum.shape}")
            if not (np.all(np.isfinite(vector)) and np.any(vector)):
                raise InputError(f"{name} = {vector} must be finite and not zero: it is a direction")

    @classmethod
    def of(cls, problem: Problem) -> "SpanProblem":
        """Theorem 1's problem; its rule and rho must be scalar."""
        rho = float(problem.rho)
        group = Group(along=(rho, np.sqrt((1 - rho) * (1 + rho))), keep=problem.rule)
        return cls((1.0, 0.0), (group,), problem.phi, problem.lam)

    @cached_property
    def eigenvalues(self) -> Array:
        """Eigenvalues of Σ (d,)."""
        return np.ones(np.size(self.truth)) if self.spectrum is None else np.asarray(self.spectrum, float)

    def whitened(self, vectors: ArrayLike) -> Array:
        """Unit vectors along Σ^½ w, one row for each w: (d,) or (r, d) -> (r, d)."""
        rows = np.sqrt(self.eigenvalues) * np.reshape(np.asarray(vectors, float), (-1, self.eigenvalues.size))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def directions(self, group: Group) -> tuple[Array, Array]:
        """Whitened labeller (d,) and `along` (r, d) of a group."""
        labeller = self.truth if group.labeller is None else group.labeller
        return self.whitened(labeller)[0], self.whitened(group.along)

    @cached_property
    def basis(self) -> Array:
        """U (d, k): orthonormal basis of the span of all whitened directions."""
        pairs = [self.directions(group) for group in self.groups]
        rows = [self.whitened(self.truth), *(labeller[None] for labeller, _ in pairs), *(along for _, along in pairs)]
        return orth(np.concatenate(rows).T)
