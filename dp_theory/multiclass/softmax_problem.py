"""Multinomial logistic regression on rows that a selector of K classes chose: the problem and its answers.

Conventions
- Rows x ~ N(0, I_d). Teacher and selector are K directions each, W* and W_s. A row's class is argmax W* x. All that
  counts are differences between classes, so that orthonormal directions and a simplex are the same: scores are W* x and
  W_s x less their means over classes.
- ρ is the cosine of a selector's direction with the teacher's of the same class: W_s x = ρ W* x + √(1 − ρ²) · as many
  independent scores.
- Ŵ = argmin (1/n) Σ ℓ(W x_i; y_i) + (λ/2) ‖W‖², the sum over kept rows, ℓ the cross-entropy of softmax(W x). n counts
  the pool, kept or not; φ = d/n. Rows are labelled without errors, so that they are separable: λ must be positive.
- The test error is P(argmax Ŵx ≠ argmax W*x), the cross-entropy that of new rows in nats. The overlap is
  ⟨Ŵ, W*⟩/(K − 1) with W* centred, the squared norm ‖Ŵ‖²/(K − 1). Two classes are logistic regression with ridge λ/2,
  whose weights are √2 times as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dp_base.errors import InputError
from dp_theory.multiclass.selection import Selection, require_classes
from dp_theory.numerics.checks import (
    Real,
    common_shape,
    numbers,
    require,
    require_magnitude,
    require_number,
)


@dataclass(frozen=True)
class SoftmaxProblem:
    """As the module's head says. phi > 0 and lam > 0: numbers or arrays that broadcast; classes and rho: one number.

    Raises InputError for parameters outside their domain.
    """

    classes: int
    selection: Selection
    rho: float
    phi: Real
    lam: Real

    def __post_init__(self) -> None:
        phi, lam = numbers("phi", self.phi), numbers("lam", self.lam)
        require_classes(self.classes)
        if not isinstance(self.selection, Selection):
            raise InputError(f"selection = {self.selection!r} must be a selection of K classes: see make_selection")
        require_number(rho=self.rho)
        require("rho", self.rho, abs(self.rho) <= 1, "lie in [-1, 1]: it is the cosine of selector and teacher")
        require("phi", phi, (phi > 0) & np.isfinite(phi), "be positive and finite: it is d/n, n the size of the pool")
        require("lam", lam, (lam > 0) & np.isfinite(lam), "be positive and finite: without ridge the weights run away")
        require_magnitude(phi=phi, lam=lam)
        self.shape  # noqa: B018 (raises where shapes do not broadcast)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that phi and lam broadcast to."""
        return common_shape(phi=self.phi, lam=self.lam)

    def cells(self) -> Iterator["SoftmaxProblem"]:
        """The scalar problems that this one broadcasts to, in C order."""
        phi, lam = (np.broadcast_to(np.asarray(x, float), self.shape) for x in (self.phi, self.lam))
        for index in np.ndindex(self.shape):
            yield replace(self, phi=float(phi[index]), lam=float(lam[index]))


@dataclass(frozen=True)
class SoftmaxOutputs:
    """What theory says and experiments find of a learner, each number with its standard error."""

    test_error: Real
    test_error_se: Real
    cross_entropy: Real
    cross_entropy_se: Real
    overlap: Real
    overlap_se: Real
    squared_norm: Real
    squared_norm_se: Real


@dataclass(frozen=True)
class SoftmaxPrediction(SoftmaxOutputs):
    """The limit n, d → ∞ at d/n = phi. Fields have the problem's shape; a scalar problem's are floats.

    Each _se is the standard error of its number: expectations over K classes are means over `points` quasi-random
    points in 32 independent sets, whose scatter it measures. keep_fraction: kept rows over the pool, known so well that
    its error, which counts in the others', is seldom their largest.
    """

    keep_fraction: float
    keep_fraction_se: float
    points: Real


@dataclass(frozen=True)
class SoftmaxSimulation(SoftmaxOutputs):
    """Means over `trials` independent experiments in dimension d, with standard errors (inf for a single trial)."""

    d: int
    trials: int
    seed: int
