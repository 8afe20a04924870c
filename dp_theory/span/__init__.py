"""The span recipe: mixtures of groups of rows with rules, soft weights, labellers and flips, any covariance and loss.

span_problem says what may be asked and states the conventions. weights, flips and losses name the usual ones. square
and convex predict, by atoms and bulk, and certificate bounds their error. experiment simulates.
"""

from dp_theory.span.flips import BoundaryFlips
from dp_theory.span.losses import HINGE, LOGISTIC, SQUARE, SQUARED_HINGE, Logistic, Loss, Square
from dp_theory.span.span_problem import Group, SpanProblem
from dp_theory.span.weights import Agree, Interpolating, Verifier

__all__ = [
    "HINGE",
    "LOGISTIC",
    "SQUARE",
    "SQUARED_HINGE",
    "Agree",
    "BoundaryFlips",
    "Group",
    "Interpolating",
    "Logistic",
    "Loss",
    "SpanProblem",
    "Square",
    "Verifier",
]
