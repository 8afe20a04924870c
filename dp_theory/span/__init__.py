"""The span recipe."""

from dp_theory.span.atoms import Rows, kept_rows
from dp_theory.span.problem import Group, SpanProblem, Weight
from dp_theory.span.square import predict
from dp_theory.span.weights import Agree, Interpolating, Verifier

__all__ = ["Agree", "Group", "Interpolating", "Rows", "SpanProblem", "Verifier", "Weight", "kept_rows", "predict"]
