"""Softmax regression with K classes on rows that a selector of K classes chose."""

from dp_theory.multiclass.selection import Share, Threshold, Tilted, Uncertainty, make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.outcomes import SoftmaxPrediction, SoftmaxSimulation

__all__ = [
    "Share",
    "SoftmaxPrediction",
    "SoftmaxProblem",
    "SoftmaxSimulation",
    "Threshold",
    "Tilted",
    "Uncertainty",
    "make_selection",
]
