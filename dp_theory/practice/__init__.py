"""The practice loop: a learner that selects its own training rows, round by round, and its asymptotics.

`practice_problem` and `additions` say what is asked. `dmft` has the equations, `cohorts` reduces the rows of a round to
what these need, and `loop` solves them stage by stage, with `quadratic_forces`, and for other losses with the `forces`
of rows at `points`. `prediction` certifies the result, `experiment` runs the loop, and `hindsight` looks back at the
rows of a round.
"""

from dp_theory.practice.additions import Addition, MeasuredRows, RoundPlan, RoundRows, Window
from dp_theory.practice.hindsight import row_errors
from dp_theory.practice.practice_problem import PracticePrediction, PracticeProblem, PracticeSimulation

__all__ = [
    "Addition",
    "MeasuredRows",
    "PracticePrediction",
    "PracticeProblem",
    "PracticeSimulation",
    "RoundPlan",
    "RoundRows",
    "Window",
    "row_errors",
]
