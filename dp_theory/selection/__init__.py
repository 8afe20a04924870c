"""The best selection: what a row is worth, and the best rule for a budget."""

from dp_theory.selection.best import Bands, BestRule, Budget, best_selection
from dp_theory.selection.influence import influence
from dp_theory.selection.window import best_window

__all__ = ["Bands", "BestRule", "Budget", "best_selection", "best_window", "influence"]
