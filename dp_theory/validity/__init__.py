"""Whether the Gaussian theory of selection is valid for features that somebody has, and how wrong it would be.

features        reads them
view            what the theory sees of them
assumptions     a test for each assumption
second_moments  predictions from the rows' own law in place of the Gaussian one
check           measures, and lays all of it side by side
"""

from dp_theory.validity.check import RULES, Check, check
from dp_theory.validity.features import Features, read_features

__all__ = ["RULES", "Check", "Features", "check", "read_features"]
