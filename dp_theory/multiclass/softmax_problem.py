"""Multinomial logistic regression on rows that a selector of K classes chose.

Rows are x ~ N(0, I_d), of class argmax W* x; of the K directions of teacher W* and selector W_s only differences count.
ρ is the cosine of a selector's direction with the teacher's of the same class. The learner is Ŵ = argmin (1/n) Σ ℓ(W
x_i; y_i) + (λ/2) ‖W‖² over kept rows, with the cross-entropy ℓ in nats; n counts all rows of the pool, φ = d/n. Rows
are separable, so that λ must be positive. The test error is P(argmax Ŵx ≠ argmax W*x), the overlap ⟨Ŵ, W*⟩/(K - 1) with
W* centred, the squared norm ‖Ŵ‖²/(K - 1). Two classes are logistic regression with ridge λ/2.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dp_base.errors import InputError
from dp_theory.multiclass.selection import Selection, require_classes
from dp_theory.numerics.checks import (
    Real,
    common_shape,
    require_in,
    require_number,
    require_positive,
    scalars,
)
from dp_theory.ridge.problem import AnyProblem

if TYPE_CHECKING:
    from dp_theory.outcomes import SoftmaxPrediction, SoftmaxSimulation


@dataclass(frozen=True)
class SoftmaxProblem(AnyProblem):
    """Softmax regression on the rows that a selection keeps.

    Parameters
    ----------
    classes
        Number of classes K.
    rho
        The cosine ρ of a selector's direction with the teacher's of the same class.
    phi, lam
        The ratio φ = d/n and the ridge λ, both positive: numbers, or arrays that broadcast together.

    Raises
    ------
    InputError
        For parameters outside their domain.
    """

    classes: int
    selection: Selection
    rho: float
    phi: Real
    lam: Real

    def __post_init__(self) -> None:
        require_classes(self.classes)
        if not isinstance(self.selection, Selection):
            raise InputError(f"selection = {self.selection!r} must be a selection of K classes: see make_selection")
        require_number(rho=self.rho)
        require_in("[-1, 1]", "it is the cosine of selector and teacher", rho=self.rho)
        require_positive("it is d/n, n the size of the pool", phi=self.phi)
        require_positive("without ridge the weights run away", lam=self.lam)
        self.shape  # noqa: B018 (raises where shapes do not broadcast)

    @property
    def shape(self) -> tuple[int, ...]:
        return common_shape(phi=self.phi, lam=self.lam)

    def cells(self) -> Iterator["SoftmaxProblem"]:
        for _, numbers in scalars(self.shape, phi=self.phi, lam=self.lam):
            yield replace(self, **numbers)

    def solve(self, tolerance: float | None) -> "SoftmaxPrediction":
        from dp_theory.multiclass.prediction import predict_softmax

        return predict_softmax(self, tolerance=tolerance)

    def draw(self, d: int | None, trials: int, *, engine: str, seed: int, workers: int | None) -> "SoftmaxSimulation":
        from dp_theory.multiclass.experiment import simulate_softmax

        return simulate_softmax(self, d, trials, seed=seed, workers=workers)
