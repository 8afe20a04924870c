"""The best selection: what a row is worth, the best rule for a budget, the best rules of a practice loop.

margins says what a rule sees and what of it counts, influence how the test error depends on it, search finds the least
error over all rules; static asks for a fixed selector and rivals compares, sequence asks for the loop.
"""

from dp_theory.selection.influence import influence
from dp_theory.selection.margins import Bands
from dp_theory.selection.rivals import compare_selections
from dp_theory.selection.sequence import BestSequence, best_sequence, best_window
from dp_theory.selection.static import Budget, Selection, best_selection

__all__ = ["Bands", "BestSequence", "Budget", "Selection", "best_selection", "best_sequence", "best_window",
           "compare_selections", "influence"]  # fmt: skip
