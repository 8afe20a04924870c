"""The span recipe."""

from dp_theory.span.atoms import Atoms, kept_atoms
from dp_theory.span.problem import Group, SpanProblem, Weight
from dp_theory.span.square import predict
from dp_theory.span.weights import Agree, Interpolating, Verifier

__all__ = ["Agree", "Atoms", "Group", "Interpolating", "SpanProblem", "Verifier", "Weight", "kept_atoms", "predict"]
