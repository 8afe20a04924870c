"""The practice loop: a learner that selects its own training rows, round by round, and its asymptotics.

What is asked: `practice_problem`, and the `additions` of its rounds.

How it is answered: `dmft` has the equations, and `cohorts` reduces the rows of a round to what these need. `loop`
solves them stage by stage, with `quadratic_forces`, and for losses other than the square with the `forces` of rows at
`points`.
`prediction` goes through the stages and certifies the result. `experiment` runs the loop.

What follows: `hindsight` looks back at the rows of a round.
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
