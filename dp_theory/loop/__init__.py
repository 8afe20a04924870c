"""Learners on rows that fixed directions or the learners before them chose: the practice loop, and the span recipe."""

from dp_theory.loop.groups import (
    Addition,
    Agree,
    BoundaryFlips,
    Group,
    MeasuredRows,
    RoundPlan,
    Verifier,
    Window,
)
from dp_theory.loop.losses import LOGISTIC, SQUARE, Logistic, Loss, Square
from dp_theory.loop.problems import PracticePrediction, PracticeProblem, SpanProblem

__all__ = [
    "LOGISTIC",
    "SQUARE",
    "Addition",
    "Agree",
    "BoundaryFlips",
    "Group",
    "Logistic",
    "Loss",
    "MeasuredRows",
    "PracticePrediction",
    "PracticeProblem",
    "RoundPlan",
    "SpanProblem",
    "Square",
    "Verifier",
    "Window",
]
