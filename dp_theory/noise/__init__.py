"""Labels that are wrong near the boundary, where practice asks for rows.

rows      what a learner finds in the rows of its window, and what such a row is worth
worth     practice and selection against static data
"""

from dp_theory.noise.rows import Missed, Shares, row_worth, shares
from dp_theory.noise.worth import loops_of_worth, selections, worth

__all__ = [
    "Missed",
    "Shares",
    "loops_of_worth",
    "row_worth",
    "selections",
    "shares",
    "worth",
]
