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
from dp_theory.loop.losses import LOGISTIC
from dp_theory.loop.problems import PracticeProblem, SpanProblem

__all__ = [
    "LOGISTIC",
    "Addition",
    "Agree",
    "BoundaryFlips",
    "Group",
    "MeasuredRows",
    "PracticeProblem",
    "RoundPlan",
    "SpanProblem",
    "Verifier",
    "Window",
]
