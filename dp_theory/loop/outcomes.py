"""What theory predicts of a practice loop, and what its experiments measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_theory.loop.groups import Rows
from dp_theory.numerics.checks import Array, Float
from dp_theory.outcomes import Prediction, Simulation

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The limit of the loop as n, d → ∞: fields have an entry for every stage.

    Attributes
    ----------
    keep_fraction
        Rows kept over rows looked at, in all rounds so far.
    certificate
        For the square loss an estimate, as for a `SpanProblem`. For other losses the last change, by four times as many
        points, which is no bound: on 48 random loops the error over all stages was within it on 45, and up to four
        times as large on the others. It never falls from stage to stage.
    additions
        The rows of each round, with plans resolved.
    kept, candidates
        Rows kept and looked at so far, in units of n.
    """

    problem: "PracticeProblem"
    additions: Sequence[Rows]
    kept: Float[Array, " stages"]
    candidates: Float[Array, " stages"]


@dataclass(frozen=True)
class PracticeSimulation(Simulation):
    """Independent runs of the loop in dimension d; means have an entry for every stage.

    Attributes
    ----------
    test_errors, kept
        Test error, and rows kept so far in units of n, of every run.
    """

    test_errors: Float[Array, "trials stages"]
    kept: Float[Array, "trials stages"]
