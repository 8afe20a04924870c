"""What learners of the loop answer: by theory, and in a finite dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from dp_base.errors import InputError
from dp_theory.numerics.checks import LARGEST_D, require, require_size
from dp_theory.ridge.problem import Prediction, Simulation

if TYPE_CHECKING:
    from jaxtyping import Float

    from dp_theory.loop.problems import PracticeProblem

LEAST_TRIALS = 20  # runs from which a band can be told


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The limit of the loop as n, d → ∞, for every stage.

    All fields have the shape (*S, stages) unless another is given, where S is the problem's own shape. `test_error`,
    `overlap`, `squared_norm` and `certificate` are those of `Prediction`.

    Attributes
    ----------
    keep_fraction
        Rows kept over rows looked at, in all rounds so far.
    problem
        What was asked.
    additions
        The rows of each round, with plans resolved, (*S, rounds).
    kept, candidates
        Numbers of rows kept and looked at so far, in units of n.
    alignment
        Order parameter a_s: θ_s along the unit vector of Σ^½w_g.
    covariance, response
        Order parameters C and X, (*S, stages, stages). dp_theory.loop.equations defines all three.
    """

    problem: PracticeProblem
    additions: np.ndarray
    kept: Float[np.ndarray, "*cells stages"]
    candidates: Float[np.ndarray, "*cells stages"]
    alignment: Float[np.ndarray, "*cells stages"]
    covariance: Float[np.ndarray, "*cells stages stages"]
    response: Float[np.ndarray, "*cells stages stages"]

    def band(
        self, simulation: PracticeSimulation, d: int, level: float = 0.95
    ) -> tuple[Float[np.ndarray, "*cells stages"], Float[np.ndarray, "*cells stages"]]:
        """The interval that holds the test error of one run in dimension d with this probability, at each stage.

        The limit is this prediction's. A simulation in fewer dimensions says how far the mean is from it, which falls
        as 1/d, and how far single runs are, which falls as d^-½.

        Parameters
        ----------
        simulation
            Of the same loop, of 20 trials or more; in 100 dimensions or more, as a rule.
        d
            The dimension.
        level
            The probability, in (0, 1).

        Returns
        -------
        low, high
            Within [0, 1], (*S, stages).

        Raises
        ------
        InputError
            For a level outside (0, 1), too few trials, and a loop with a spectrum, which has one dimension only.

        Notes
        -----
        The trials are few, so the band is Student's, as wide as the uncertain mean asks for (T5.13).
        """
        require("level", level, 0 < level < 1, "lie in (0, 1): it is a probability")
        require_size("d", d, 3, LARGEST_D, "it is the dimension of the band")
        trials = simulation.trials
        require("trials", trials, trials >= LEAST_TRIALS, f"be {LEAST_TRIALS} or more: they say how far runs scatter")
        if self.problem.spectrum is not None and d != simulation.d:
            raise InputError(f"d = {d} must be the length of the spectrum, {simulation.d}: no other is known")
        nearer = simulation.d / d
        mean = self.test_error + (simulation.test_error - self.test_error) * nearer
        sd = simulation.test_errors.std(axis=-2, ddof=1) * np.sqrt(nearer * (1 + nearer / trials))
        half = stdtrit(trials - 1, (1 + level) / 2) * sd
        return np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0)


@dataclass(frozen=True)
class PracticeSimulation(Simulation):
    """Independent runs of the loop in dimension d. Means and standard errors have the shape (*S, stages).

    Attributes
    ----------
    test_errors, kept
        Test error, and rows kept so far in units of n, of every run: (*S, trials, stages).
    row_errors
        Share of the rows that each stage gets wrong, among those of a round that were misclassified when they were
        added: (*S, trials, rounds, stages). It is nan where a round brought no such row. dp_theory.loop.hindsight
        predicts it.
    """

    test_errors: Float[np.ndarray, "*cells trials stages"]
    row_errors: Float[np.ndarray, "*cells trials rounds stages"]
    kept: Float[np.ndarray, "*cells trials stages"]
