"""Where keep-hard is best and where keep-easy is: the line between them, and the limit of hard selection (ours).

The learner, its ridge and the selector are those of dp_theory.budgets.least_error. psi = d/m for m training rows.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from dp_theory.budgets.least_error import CELLS_AT_ONCE, blocks, least_error, require_selector
from dp_theory.numerics.checks import Real, common_shape, numbers, require

PSIS = (0.05, 5.0)  # between which the line is sought
_POINTS = 48  # of the first grid of psi


def keep_hard_law(rho: Real, psi: Real, flip: Real = 0.0) -> Any:
    """Test error of keep-hard in the limit lam → 0+ and then p → 0.

        tan(πE) = √(1 - rho²)·tan(πE_plain),    tan(πE_plain) = √(psi/(1 - psi))·√((π/2)/(1 - 2 flip)² - 1)

    The limits do not commute: at any lam > 0 the component along w_s, in which all rows are small, is lost as p → 0.
    `dp theory verify keep-hard` derives the law.

    Parameters
    ----------
    rho
        Cosine between selector and truth, inside (-1, 1).
    psi
        d/m, in (0, 1).
    flip
        Probability that a label is flipped, below 1/2.

    Returns
    -------
    Real
        Of the shape that the parameters broadcast to.

    Raises
    ------
    InputError
        Outside this domain.
    """
    require_selector(rho, flip, None)
    psi = numbers("psi", psi)
    require("rho", rho, np.abs(rho) < 1, "lie in (-1, 1): the law needs a selector that is not the truth")
    require("psi", psi, (psi > 0) & (psi < 1), "lie in (0, 1): the law needs m > d")
    plain = np.sqrt(psi / (1 - psi) * (np.pi / 2 / (1 - 2 * np.asarray(flip)) ** 2 - 1))
    return np.arctan(np.sqrt(1 - np.square(rho)) * plain) / np.pi


def boundary(rho: Real, *, lam: Real | None = None, flip: Real = 0.0) -> Any:
    """The psi at which keep-hard, which is better below it, and keep-easy, which is better above, change places.

    Each rule is at its best kept fraction.

    Parameters
    ----------
    rho
        Cosine between selector and truth.
    lam
        Ridge per training row, instead of the best one for each rule.
    flip
        Probability that a label is flipped.

    Returns
    -------
    Real
        The largest such psi in PSIS, nan where there is none. It has the shape that the parameters broadcast to.

    Raises
    ------
    InputError
        For parameters outside their domain.
    """
    from scipy.optimize.elementwise import find_root

    require_selector(rho, flip, lam)
    given = {"rho": rho, "flip": flip} | ({} if lam is None else {"lam": lam})
    shape = common_shape(**given)

    def lead(log_psi: Any, *parameters: Any) -> Any:
        """By how much keep-easy's error exceeds keep-hard's, relative to the latter."""
        at = dict(zip(given, parameters, strict=True))
        hard = least_error("keep-hard", psi=np.exp(log_psi), **at).test_error
        easy = least_error("keep-easy", psi=np.exp(log_psi), **at).test_error
        return easy / hard - 1

    least, largest = PSIS
    grid = np.linspace(np.log(least), np.log(largest), _POINTS)
    found = np.full(prod(shape), np.nan)
    for cells, parameters in blocks(given, shape, CELLS_AT_ONCE // len(grid)):
        leads = lead(grid[:, None], *parameters.values())
        falls = (leads[:-1] > 0) & (leads[1:] <= 0)
        last_fall = len(grid) - 2 - np.argmax(falls[::-1], axis=0)
        has_fall = falls.any(axis=0)
        if has_fall.any():
            bracket = (grid[last_fall[has_fall]], grid[last_fall[has_fall] + 1])
            args = tuple(values[has_fall] for values in parameters.values())
            root = find_root(lead, bracket, args=args, tolerances={"xatol": 1e-7})
            found[cells[has_fall]] = np.exp(root.x)
    return found.reshape(shape)[()]
