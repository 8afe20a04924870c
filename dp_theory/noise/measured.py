"""The flips of the theory from what a judge of real images says about generated rows (ours).

The judge is a classifier that errs as probit flips do: it sees the margin through noise. So does the generator. Both
labels of a row are then signs of normals. The probability that two such signs differ is the angle between the normals,
over π. The angles of judge and label to the true margin give that between judge and label:

    (1)  cos(π P(judge ≠ label)) = cos(π P(label wrong)) · cos(π P(judge wrong))
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dp_theory.noise.rows import Missed, shares
from dp_theory.numerics.checks import require, require_number
from dp_theory.span.flips import BoundaryFlips, LabelCheck

LEAST = 1e-4  # the share of wrong labels that stands for none


def judged_share(confirmed: float, accuracy: float = 1.0) -> float:
    """The share of plain labels that are wrong, from the share that a judge confirms: (1).

    Parameters
    ----------
    confirmed
        The share of generated labels that the judge confirms.
    accuracy
        The judge's accuracy on real images.

    Returns
    -------
    float
        At least LEAST. A judge that doubts no more labels than it errs on real images gives LEAST.

    Raises
    ------
    InputError
        Unless both lie in (1/2, 1].

    Examples
    --------
    >>> round(judged_share(0.9, accuracy=0.95), 4)
    0.087
    """
    _require_right(confirmed=confirmed, accuracy=accuracy)
    cosine = np.cos(np.pi * (1 - confirmed)) / np.cos(np.pi * (1 - accuracy))
    return max(float(np.arccos(min(cosine, 1.0)) / np.pi), LEAST)


def _require_right(**shares: float) -> None:
    """Raises InputError unless each of these shares lies in (1/2, 1]."""
    require_number(**shares)
    for name, value in shares.items():
        require(name, value, 0.5 < value <= 1, "lie in (1/2, 1]: it is a share of what is right")


class Confirmation(NamedTuple):
    """What a judge should say of guided rows, if labels are wrong near the boundary and nowhere else."""

    window: float  # |t| within which the rows lie
    wrong: float  # share of labels that are wrong
    confirmed: float  # share of labels that the judge confirms
    confirmed_of_missed: float  # the same, of the rows whose label is not the learner's answer


def confirmation(flips: BoundaryFlips, test_error: float, missed: float, accuracy: float = 1.0) -> Confirmation:
    """What a judge confirms of the rows in a learner's window.

    Parameters
    ----------
    flips
        The flips of the rows' labels.
    test_error
        The learner's, against true labels.
    missed
        The share of the window's labels that are not the learner's answer. It says how wide the window is.
    accuracy
        The judge's accuracy on real images.

    Returns
    -------
    Confirmation
        The window, and the shares of its labels that are wrong and confirmed.

    Raises
    ------
    InputError
        Where plain rows are missed as often, and for an accuracy outside (1/2, 1].
    """
    _require_right(accuracy=accuracy)
    alpha = Missed(flips, missed).alpha(test_error)
    require("missed", missed, np.isfinite(alpha), "be above the share of plain rows that the learner misses")
    plain = shares(flips, test_error, alpha)
    judge_width = max(float(np.tan(np.pi * (1 - accuracy))), LEAST * flips.width)
    judged = shares(replace(flips, check=LabelCheck(judge_width)), test_error, alpha)
    confirmed_of_missed = judged.passed * judged.missed / plain.missed
    return Confirmation(alpha, plain.wrong, judged.passed, confirmed_of_missed)
