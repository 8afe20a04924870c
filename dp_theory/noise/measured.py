"""The flips of the theory from what a judge of real images says about generated rows (ours).

The judge errs as probit flips do: it sees the margin through noise, and so does the generator. Both labels of a row are
signs of normals, which differ with a probability of their angle over π, so that

    (1)  cos(π P(judge ≠ label)) = cos(π P(label wrong)) · cos(π P(judge wrong))
"""

import numpy as np

from dp_theory.numerics.checks import require, require_number

LEAST = 1e-4  # the share of wrong labels that stands for none


def judged_share(confirmed: float, accuracy: float = 1.0) -> float:
    """The share of plain labels that are wrong, at least LEAST, from the share that a judge of this accuracy confirms:
    (1).

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
