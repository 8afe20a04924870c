"""Rows near a learner's boundary whose labels may be wrong: what it sees of them, and what one is worth (ours)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_theory.numerics.checks import SMALLEST, Array, require, require_magnitude, require_number
from dp_theory.numerics.quadrature import half_line
from dp_theory.practice.additions import PLAIN, Addition
from dp_theory.practice.cohorts import nodes
from dp_theory.rules import KeepHard
from dp_theory.span.flips import BoundaryFlips

ORDER = 24
NEXT_TO = 1e-8  # the boundary, over the flips' width
NARROWEST, WIDEST = 1e-4, 9.0  # windows that are looked for, in standard deviations


class Shares(NamedTuple):
    """Of the rows within a window that pass the check, if there is one; passed: of all rows within the window."""

    missed: float  # whose label is not the learner's answer
    wrong: float  # whose label is not the true one
    wrong_of_missed: float
    passed: float


def shares(flips: BoundaryFlips, test_error: float, alpha: float = np.inf) -> Shares:
    """What a learner of this test error meets within |t| ≤ alpha of its boundary; infinite: in plain rows.

    Raises InputError where test_error is no error of a learner that has learned anything, (0, 1/2).
    """
    require_number(test_error=test_error, alpha=alpha)
    require("test_error", test_error, 0 < test_error < 0.5, "lie in (0, 1/2): it is the learner's")
    require("alpha", alpha, alpha > 0, "be positive: it is the window")
    t, measure, _ = _one_side(flips, test_error, alpha)
    _, weights, z, starts = flips.inner(np.cos(np.pi * test_error) * t, float(np.sin(np.pi * test_error)), ORDER)
    mass = weights * np.repeat(measure, np.diff(starts, append=len(z)))
    right, wrong = (mass * p for p in flips.outcomes(z))
    agree, passed = z > 0, float((right + wrong).sum())
    missed, both = float(np.where(agree, wrong, right).sum()), float(wrong[agree].sum())
    return Shares(missed / passed, float(wrong.sum()) / passed, both / missed, passed / float(mass.sum()))


def _one_side(flips: BoundaryFlips, test_error: float, alpha: float) -> tuple[Array, Array, Array]:
    """Nodes 0 < t ≤ alpha, their weights, and the labels there, as `nodes` has them; the other side is alike."""
    window = PLAIN if np.isinf(alpha) else KeepHard(alpha)
    t, measure, labels = nodes(float(np.cos(np.pi * test_error)), flips, Addition(1.0, keep=window), ORDER)
    inside = (t > 0) & (window.keep_probability(t) > 0)
    return t[inside], measure[inside], labels[..., inside]


def _missed(flips: BoundaryFlips, test_error: float, alpha: float) -> float:
    """`Shares.missed`, without the inner integral where labels have a closed form."""
    _, measure, labels = _one_side(flips, test_error, alpha)
    agreeing, missed = labels[:, 0] @ measure
    return float(missed / (agreeing + missed))


@dataclass(frozen=True)
class Missed:
    """A plan: `kept` rows within the window in which a learner misses `share` of the labels, as `omega = "auto"` does.

    flips: of these rows, which may be labelled worse than plain ones. Where all rows are missed as often as that, none
    is selected. Raises InputError unless 0 < share < 1/2, for at the boundary
    a learner misses half of them.
    """

    flips: BoundaryFlips
    share: float = 0.2
    kept: float = 1.0

    def __post_init__(self) -> None:
        require_number(share=self.share, kept=self.kept)
        require("share", self.share, 0 < self.share < 0.5, "lie in (0, 1/2): at the boundary half are missed")
        require_magnitude(kept=self.kept)

    def alpha(self, test_error: float) -> float:
        """The window of a learner of this test error, infinite for plain rows. Raises InputError where no window has
        so many missed rows."""

        def excess(log_alpha: float) -> float:
            return _missed(self.flips, test_error, float(np.exp(log_alpha))) - self.share

        if excess(np.inf) >= 0:
            return np.inf
        low = np.log(NARROWEST * np.tan(np.pi * test_error))
        most = excess(low) + self.share
        require("share", self.share, self.share <= most, f"be at most {most:.6g}, missed in the narrowest window")
        return float(np.exp(root_scalar(excess, bracket=(low, np.log(WIDEST)), xtol=1e-12).root))

    def __call__(self, test_error: float) -> Addition:
        """The rows to add after a stage of this test error."""
        alpha = self.alpha(float(test_error))
        return Addition(kept=self.kept, keep=PLAIN if np.isinf(alpha) else KeepHard(alpha), flip=self.flips)


def row_worth(flips: BoundaryFlips, alpha: float) -> float:
    """Plain rows that teach as much as one kept within |z| ≤ alpha, once the learner knows where the boundary is.

    For a selector that is the truth itself, lam → 0+ and psi = d/kept < 1,

        tan²(πE) = psi/(1 − psi)·γ(γ − c²)/c²,    γ = E[z²; kept], c = E[y z; kept]

    and the worth is the ratio of that of unchecked plain rows to that of these. As alpha → 0 it is s²(1 − c²)/c² with
    the plain rows' c and s the slope of E[y | z] at 0; probit: 1 + (1 − 2/π)/width². Practice pays in the end if a row
    is worth more than its cost over that of a plain one. Raises InputError for alpha < 1e-30, and where most labels
    there are wrong: such rows teach the opposite.
    """
    require_number(alpha=alpha)
    require("alpha", alpha, alpha >= SMALLEST, f"be positive, and at least {SMALLEST:g}: it is the window")
    if flips(0.0) == 0.5:  # below, the worth is that limit to as many digits as 1 - 2 P(flip | z) has
        alpha = max(alpha, NEXT_TO * flips.width)
    z, measure = half_line((alpha, *flips.jumps, *flips.levels))
    right, wrong = flips.outcomes(z)
    kept = measure * (z <= alpha) * (right + wrong)
    second, pull = float(kept @ z**2) / kept.sum(), float((measure * (z <= alpha) * (right - wrong)) @ z) / kept.sum()
    require("alpha", alpha, pull > -1e-9 * np.sqrt(second), "leave labels that are right more often than wrong")
    plain = flips.signal**2
    return (1 - plain) / plain * pull**2 / (second * (second - pull**2))
