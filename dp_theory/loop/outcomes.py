"""What theory predicts of a practice loop, and what its experiments measure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.numerics.checks import Array, Float
from dp_theory.outcomes import Prediction, Simulation

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The limit of the loop as n, d → ∞, for every stage.

    Fields have the shape (*S, stages), where S is the problem's own, unless another is given.

    Attributes
    ----------
    keep_fraction
        Rows kept over rows looked at, in all rounds so far.
    certificate
        For the square loss an estimate, as for a `SpanProblem`. For other losses the last change, by four times as many
        points, which is no bound: on 48 random loops the error over all stages was within it on 45, and up to four
        times as large on the others. It never falls from stage to stage.
    additions
        The rows of each round, with plans resolved, (*S, rounds).
    kept, candidates
        Rows kept and looked at so far, in units of n.
    """

    problem: "PracticeProblem"
    additions: np.ndarray
    kept: Float[Array, "*cells stages"]
    candidates: Float[Array, "*cells stages"]


@dataclass(frozen=True)
class PracticeSimulation(Simulation):
    """Independent runs of the loop in dimension d; means are (*S, stages).

    Attributes
    ----------
    test_errors, kept
        Test error, and rows kept so far in units of n, of every run: (*S, trials, stages).
    """

    test_errors: Float[Array, "*cells trials stages"]
    kept: Float[Array, "*cells trials stages"]
