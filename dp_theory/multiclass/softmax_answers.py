"""What learners of K classes answer: by theory, and in a finite dimension."""

from dataclasses import dataclass

from dp_theory.numerics.checks import Real


@dataclass(frozen=True)
class SoftmaxOutputs:
    """What theory predicts and experiments measure, each number with its standard error beside it."""

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

    Expectations over K classes are means over quasi-random points in 32 independent sets. The standard errors measure
    the scatter of these sets. Arrays have the problem's shape, and a scalar problem has floats.

    Attributes
    ----------
    keep_fraction
        Kept rows over the rows of the pool.
    keep_fraction_se
        Its standard error, a part of the others'.
    points
        Number of quasi-random points.
    """

    keep_fraction: float
    keep_fraction_se: float
    points: Real


@dataclass(frozen=True)
class SoftmaxSimulation(SoftmaxOutputs):
    """Means over independent experiments. Their standard errors are inf for a single experiment.

    Attributes
    ----------
    d
        The dimension.
    trials
        Number of experiments.
    seed
        Of all draws.
    """

    d: int
    trials: int
    seed: int
