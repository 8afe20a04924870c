"""Labels that are wrong near the boundary, where practice asks for rows.

rows      what a learner finds in the rows of its window, and what such a row is worth
worth     practice and selection against static data, and the phase diagram
measured  flips of dp_theory.span.flips from the shares of labels that a judge of real images confirms
"""

from dp_theory.noise.measured import Confirmation, confirmation, judged_share
from dp_theory.noise.rows import Missed, Shares, row_worth, shares
from dp_theory.noise.worth import kept_price, last_useful, loops_of_worth, phases, require_selection, selections, worth

__all__ = [
    "Confirmation",
    "Missed",
    "Shares",
    "confirmation",
    "judged_share",
    "kept_price",
    "last_useful",
    "loops_of_worth",
    "phases",
    "require_selection",
    "row_worth",
    "selections",
    "shares",
    "worth",
]
