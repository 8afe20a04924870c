"""Whether the Gaussian theory of selection is valid for features that somebody has, and how wrong it would be."""

from dp_theory.validity.check import RULES, Check, check
from dp_theory.validity.features import Features

__all__ = ["RULES", "Check", "Features", "check"]
