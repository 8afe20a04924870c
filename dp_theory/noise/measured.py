"""From what a judge of real images says about generated rows to the flips of the theory (ours).

The judge is a classifier that errs as probit flips do: it sees the margin through noise. So does the generator. Both
labels of a row are then signs of normals, and shares of disagreement are angles:

    cos(π P(judge ≠ label)) = cos(π P(label wrong)) · cos(π P(judge wrong))
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dp_theory.noise.rows import Missed, shares
from dp_theory.numerics.checks import require, require_number
from dp_theory.span.flips import BoundaryFlips, LabelCheck

LEAST = 1e-4  # share of wrong labels that stands for none


def judged_share(confirmed: float, accuracy: float = 1.0) -> float:
    """The share of plain labels that are wrong, from what share a judge of this accuracy on real images confirms.

    At least LEAST, which a judge that doubts no more labels than it errs on real images leaves. Raises InputError
    unless both lie in (1/2, 1].
    """
    _require_right(confirmed=confirmed, accuracy=accuracy)
    cosine = np.cos(np.pi * (1 - confirmed)) / np.cos(np.pi * (1 - accuracy))
    return max(float(np.arccos(min(cosine, 1.0)) / np.pi), LEAST)


def _require_right(**shares: float) -> None:
    require_number(**shares)
    for name, value in shares.items():
        require(name, value, 0.5 < value <= 1, "lie in (1/2, 1]: it is a share of what is right")


class Confirmation(NamedTuple):
    """What a judge should say of guided rows, if labels are wrong near the boundary and nowhere else."""

    window: float  # |t| within which the rows lie
    wrong: float  # share of labels that are wrong
    confirmed: float
    confirmed_of_missed: float


def confirmation(flips: BoundaryFlips, test_error: float, missed: float, accuracy: float = 1.0) -> Confirmation:
    """What a judge of this accuracy confirms of the rows in the window of which a learner misses that share.

    test_error: of the learner, against true labels. Raises InputError where plain rows are missed as often, and for
    an accuracy outside (1/2, 1].
    """
    _require_right(accuracy=accuracy)
    alpha = Missed(flips, missed).alpha(test_error)
    require("missed", missed, np.isfinite(alpha), "be above the share of plain rows that the learner misses")
    plain = shares(flips, test_error, alpha)
    width = max(float(np.tan(np.pi * (1 - accuracy))), LEAST * flips.width)
    judged = shares(replace(flips, check=LabelCheck(width)), test_error, alpha)
    return Confirmation(alpha, plain.wrong, judged.passed, judged.passed * judged.missed / plain.missed)
