"""The practice loop: a learner that selects its own training rows, round by round, with exact asymptotics.

problem says what is practised and what is answered; prediction solves it, stage by stage, by the equations of dmft, or
for losses other than the square by those of convex, answers and rows;
hindsight looks back at the rows of a round, experiment runs the loop, exponents compares it with other strategies.
"""

from dp_theory.practice.hindsight import row_errors
from dp_theory.practice.practice_problem import (
    Addition,
    MeasuredRows,
    PracticePrediction,
    PracticeProblem,
    PracticeSimulation,
    RoundPlan,
    RoundRows,
    Window,
)

__all__ = ["Addition", "MeasuredRows", "PracticePrediction", "PracticeProblem", "PracticeSimulation", "RoundPlan",
           "RoundRows", "Window", "row_errors"]  # fmt: skip
