"""The best selection: what a row is worth, the best rule for a budget, the best window of a practice loop."""

from dp_theory.selection.influence import influence
from dp_theory.selection.margins import Bands
from dp_theory.selection.static import BestRule, Budget, best_selection
from dp_theory.selection.window import best_window

__all__ = [
    "Bands",
    "BestRule",
    "Budget",
    "best_selection",
    "best_window",
    "influence",
]
