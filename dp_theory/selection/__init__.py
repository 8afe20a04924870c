"""The best selection: what a row is worth, the best rule for a budget, the best rules of a practice loop.

`margins` says what a rule sees and what of it counts, `influence` how the test error depends on it, and `search` finds
the least error over all rules. `static` asks for a fixed selector, and `rivals` compares the usual rules with it.
`sequence` asks for the loop: `partial_loop` is a loop as far as it has come, `round_search` finds the rule of one
round, `joint_search` improves the rules of all rounds together, and `window` finds the best constant window.
"""

from dp_theory.selection.influence import influence
from dp_theory.selection.margins import Bands
from dp_theory.selection.rivals import compare_selections
from dp_theory.selection.sequence import BestSequence, best_sequence
from dp_theory.selection.static import BestRule, Budget, best_selection
from dp_theory.selection.window import best_window

__all__ = [
    "Bands",
    "BestRule",
    "BestSequence",
    "Budget",
    "best_selection",
    "best_sequence",
    "best_window",
    "compare_selections",
    "influence",
]
