"""Labels that are wrong near the boundary, where practice asks for rows: what rows are worth then, and until when.

rows says what a learner finds in the rows of its window, worth compares strategies and draws the phase diagram,
measured turns shares that a judge of real images confirms into the flips of dp_theory.span.flips.
"""

from dp_theory.noise.measured import Confirmation, confirmation, judged_share
from dp_theory.noise.rows import Missed, Shares, row_worth, shares
from dp_theory.noise.worth import kept_price, last_useful, phases, require_selection, selections, worth

__all__ = ["Confirmation", "Missed", "Shares", "confirmation", "judged_share", "kept_price", "last_useful", "phases",
           "require_selection", "row_worth", "selections", "shares", "worth"]  # fmt: skip
