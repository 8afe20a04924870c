"""Softmax regression with K classes on rows that a selector of K classes chose.

softmax_problem   the problem and its answers
hardness          how unsure a selector is of a row
selection         which rows it keeps
prediction        the limit, with expectations over the quasi-random points of sobol and nodes
ridge             the best ridge
experiment        the simulation
curves            ways to select against each other
"""

from dp_theory.multiclass.hardness import Margin, Uncertainty
from dp_theory.multiclass.selection import Share, Threshold, Tilted, make_selection
from dp_theory.multiclass.softmax_answers import SoftmaxPrediction, SoftmaxSimulation
from dp_theory.multiclass.softmax_problem import SoftmaxProblem

__all__ = [
    "Margin",
    "Share",
    "SoftmaxPrediction",
    "SoftmaxProblem",
    "SoftmaxSimulation",
    "Threshold",
    "Tilted",
    "Uncertainty",
    "make_selection",
]
