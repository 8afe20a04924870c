"""Rows near a learner's boundary whose labels may be wrong: what it sees of them, and what one is worth (ours).

t is a row's score by the learner, z = cos(πE) t + sin(πE) ζ that by the truth. The window is |t| ≤ alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_theory.loop.flips import BoundaryFlips
from dp_theory.loop.groups import PLAIN, Addition
from dp_theory.loop.placed import PlacedRows, score_nodes, view_of_labeller
from dp_theory.numerics.checks import SMALLEST, Array, require, require_number
from dp_theory.numerics.quadrature import half_line
from dp_theory.rules import KeepHard

if TYPE_CHECKING:
    from jaxtyping import Float

ORDER = 24  # of the quadrature rules
NEXT_TO = 1e-8  # the distance from the boundary that stands for none, over the flips' width
NARROWEST = 1e-4  # the least window that is looked for, over tan(πE)
WIDEST = 9.0  # the largest, in standard deviations of t
_ROUNDING = 1e-9  # relative, of a mean of labels that cancel


class Shares(NamedTuple):
    """Shares of the rows within a window."""

    missed: float  # whose label is not the learner's answer
    wrong: float  # whose label is not the true one
    wrong_of_missed: float  # of the missed ones, whose label is not the true one


class _Side(NamedTuple):
    t: Float[Array, " nodes"]
    measure: Float[Array, " nodes"]  # their weights
    labels: Float[Array, "2 means nodes"]  # as `dp_theory.loop.placed.score_nodes` has them


def shares(flips: BoundaryFlips, test_error: float, alpha: float = np.inf) -> Shares:
    """What a learner of this test error meets within its window |t| ≤ alpha.

    >>> from dp_theory import BoundaryFlips
    >>> found = shares(BoundaryFlips(0.3), test_error=0.1, alpha=0.2)
    >>> round(found.missed, 3), round(found.wrong, 3)
    (0.414, 0.236)
    """
    require_number(test_error=test_error, alpha=alpha)
    require("test_error", test_error, 0 < test_error < 0.5, "lie in (0, 1/2): it is the learner's")
    require("alpha", alpha, alpha > 0, "be positive: it is the window")
    side = _one_side(flips, test_error, alpha)
    along = np.cos(np.pi * test_error) * side.t
    _, weights, z, starts = flips.inner(along, float(np.sin(np.pi * test_error)), ORDER)
    mass = weights * np.repeat(side.measure, np.diff(starts, append=len(z)))
    right, wrong = (mass * probability for probability in flips.outcomes(z))
    answer_is_right = z > 0
    rows = float(mass.sum())
    missed = float(np.where(answer_is_right, wrong, right).sum())
    wrong_and_missed = float(wrong[answer_is_right].sum())
    return Shares(
        missed=missed / rows,
        wrong=float(wrong.sum()) / rows,
        wrong_of_missed=wrong_and_missed / missed,
    )


def _one_side(flips: BoundaryFlips, test_error: float, alpha: float) -> _Side:
    window = PLAIN if np.isinf(alpha) else KeepHard(alpha)
    cosine = float(np.cos(np.pi * test_error))
    t, measure, labels = score_nodes(PlacedRows(Addition(1.0, keep=window), flips, *view_of_labeller(cosine)), ORDER)
    inside = (t > 0) & (window.keep_probability(t) > 0)
    return _Side(t[inside], measure[inside], labels[..., inside])


def _missed(flips: BoundaryFlips, test_error: float, alpha: float) -> float:
    """`Shares.missed`, without the inner integral where labels have a closed form."""
    side = _one_side(flips, test_error, alpha)
    agreeing, missed = side.labels[:, 0] @ side.measure
    return float(missed / (agreeing + missed))


@dataclass(frozen=True)
class Missed:
    """A plan of rounds of n rows: the learner misses a given share of its window's labels."""

    flips: BoundaryFlips  # of the rows that are added, which may be labelled worse than plain ones
    share: float = 0.2  # the share of the labels that the learner misses

    def __post_init__(self) -> None:
        require_number(share=self.share)
        require("share", self.share, 0 < self.share < 0.5, "lie in (0, 1/2): at the boundary half are missed")

    def alpha(self, test_error: float) -> float:
        """The window, infinite for plain rows."""

        def excess(log_alpha: float) -> float:
            return _missed(self.flips, test_error, float(np.exp(log_alpha))) - self.share

        if excess(np.inf) >= 0:
            return np.inf
        low = np.log(NARROWEST * np.tan(np.pi * test_error))
        most = excess(low) + self.share
        require("share", self.share, self.share <= most, f"be at most {most:.6g}, missed in the narrowest window")
        return float(np.exp(root_scalar(excess, bracket=(low, np.log(WIDEST)), xtol=1e-12).root))

    def __call__(self, test_error: float) -> Addition:
        alpha = self.alpha(float(test_error))
        return Addition(kept=1.0, keep=PLAIN if np.isinf(alpha) else KeepHard(alpha), flip=self.flips)


def row_worth(flips: BoundaryFlips, alpha: float) -> float:
    """How many plain rows teach as much as one of the window |z| ≤ alpha, once the learner knows where the boundary is.

    For a selector that is the truth itself, lam → 0+ and psi = d/kept < 1, the test error E follows

        (1)  tan²(πE) = psi/(1 - psi) · γ(γ - c²)/c²,   γ = E[z²; kept],   c = E[y z; kept]

    The worth is this expression for plain rows over that for the window's.

    >>> from dp_theory import BoundaryFlips
    >>> round(float(row_worth(BoundaryFlips(0.5), alpha=1e-3)), 3)
    2.454
    """
    require_number(alpha=alpha)
    require("alpha", alpha, alpha >= SMALLEST, f"be positive, and at least {SMALLEST:g}: it is the window")
    if flips(0.0) == 0.5:
        # A narrower window would lose the digits of 1 - 2 P(flip | z), and has the same worth.
        alpha = max(alpha, NEXT_TO * flips.width)
    z, measure = half_line((alpha, *flips.jumps, *flips.levels))
    right, wrong = flips.outcomes(z)
    in_window = measure * (z <= alpha)
    second = float(in_window @ z**2) / in_window.sum()
    pull = float((in_window * (right - wrong)) @ z) / in_window.sum()
    is_useful = pull > -_ROUNDING * np.sqrt(second)
    require("alpha", alpha, is_useful, "leave labels that are right more often than wrong")
    plain = flips.signal**2
    return (1 - plain) / plain * pull**2 / (second * (second - pull**2))
