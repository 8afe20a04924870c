"""Learners on rows that fixed directions or the learners before them chose: the practice loop, and the span recipe.

`problem`, `rows`, `flips`, `weights` and `losses` say what is asked. `equations` has the theory; `moments` reduces rows
to what it needs, for losses other than the square `forces` with `points`; `stages` solves it stage by stage, and
`prediction` certifies the result. `experiment` draws every row, and `hindsight` looks back at those of a round.
"""

from dp_theory.loop.answers import PracticePrediction, PracticeSimulation
from dp_theory.loop.flips import BoundaryFlips
from dp_theory.loop.groups import Addition, Group, MeasuredRows, RoundPlan, RoundRows, Window
from dp_theory.loop.hindsight import row_errors
from dp_theory.loop.losses import HINGE, LOGISTIC, SQUARE, SQUARED_HINGE, Logistic, Loss, Square
from dp_theory.loop.problems import PracticeProblem, SpanProblem
from dp_theory.loop.weights import Agree, Interpolating, Verifier

__all__ = [
    "HINGE",
    "LOGISTIC",
    "SQUARE",
    "SQUARED_HINGE",
    "Addition",
    "Agree",
    "BoundaryFlips",
    "Group",
    "Interpolating",
    "Logistic",
    "Loss",
    "MeasuredRows",
    "PracticePrediction",
    "PracticeProblem",
    "PracticeSimulation",
    "RoundPlan",
    "RoundRows",
    "SpanProblem",
    "Square",
    "Verifier",
    "Window",
    "row_errors",
]
