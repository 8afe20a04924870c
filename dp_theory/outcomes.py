"""What theory predicts of a learner, and what experiments measure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.numerics.checks import ByValue, Real

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("test_error", "overlap", "squared_norm")
SOFTMAX_QUANTITIES = ("test_error", "cross_entropy", "overlap", "squared_norm")


class Cells(ByValue):
    """Numbers for each cell of a problem."""

    def to_frame(self) -> "pd.DataFrame":
        """A row for each cell, or stage of one, by its place where arrays have several axes; without other arrays."""
        import pandas as pd

        shape = np.shape(vars(self)["test_error"])
        arrays = {name: np.asarray(value) for name, value in vars(self).items()}
        columns = {
            name: np.broadcast_to(value, shape).ravel()
            for name, value in arrays.items()
            if value.shape in ((), shape) and value.dtype != object
        }
        return pd.DataFrame(columns, pd.MultiIndex.from_tuples(list(np.ndindex(shape))) if len(shape) > 1 else None)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()


@dataclass(frozen=True)
class Prediction(Cells):
    """The limit n, d → ∞ at d/n = phi, of every kind of problem.

    Fields of a `Problem` have its shape, and are floats for a scalar one; those of a practice loop have an entry for
    each stage.

    Attributes
    ----------
    test_error, overlap, squared_norm
        P(sign(w_hat·x) ≠ y), w_hat·w0/|w0| and |w_hat|²; with a covariance Σ, of θ = Σ^½ w_hat and Σ^½ w0.
    keep_fraction
        Kept rows over the rows of the pool. Where a problem has several groups of rows, kept rows over n.
    certificate
        The relative error of test_error, of squared_norm, and of the overlap relative to √squared_norm, by quadrature,
        the fixed point's residual, rounding, and their conditioning; inf at the ridgeless peak. For a `Problem` it is a
        bound to first order. For a `SpanProblem` it is an estimate: what perturbed moments and the last refinement of
        the quadrature change. No certificate sees a feature of a user's function between the nodes of quadrature,
        unless `breaks` name it.
    """

    test_error: Real
    overlap: Real
    squared_norm: Real
    keep_fraction: Real
    certificate: Real


@dataclass(frozen=True)
class Simulation(Cells):
    """Means over independent experiments in dimension d, each with its standard error.

    Attributes
    ----------
    test_error, overlap, squared_norm
        Means over the trials, with the shapes of `Prediction`.
    test_error_se, overlap_se, squared_norm_se
        Their standard errors, inf for a single trial.
    """

    test_error: Real
    test_error_se: Real
    overlap: Real
    overlap_se: Real
    squared_norm: Real
    squared_norm_se: Real
    d: int
    trials: int
    seed: int


@dataclass(frozen=True)
class SoftmaxOutputs(Cells):
    """What theory predicts and experiments measure, each number with its standard error."""

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
    """The limit n, d → ∞ at d/n = phi.

    Expectations over K classes are means over quasi-random points in 32 independent sets, whose scatter gives the
    standard errors.

    Attributes
    ----------
    keep_fraction
        Kept rows over the rows of the pool.
    """

    keep_fraction: float


@dataclass(frozen=True)
class SoftmaxSimulation(SoftmaxOutputs):
    """Means over independent experiments. Their standard errors are inf for a single experiment."""

    d: int
    trials: int
    seed: int
