"""Labels that are wrong near the boundary, where practice asks for rows (ours).

First what a learner finds in the rows of its window, and what such a row is worth; then static data and practice, each
with its best ridge. t is a row's score by the learner, z = cos(πE) t + sin(πE) ζ that by the truth. The window is |t| ≤
alpha. Samples are counted per dimension.
"""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_theory.loop.groups import Addition, BoundaryFlips, PlacedRows, Window
from dp_theory.loop.integrals import score_nodes
from dp_theory.loop.problems import PracticeProblem
from dp_theory.loop.square import Solution, solve_loop
from dp_theory.numerics.checks import (
    Advance,
    list_of,
    numbers,
    require_in,
    require_kind,
    require_number,
    require_positive,
    require_positive_number,
    require_ridge,
    require_size,
    require_some,
    require_whole,
    sine_of,
    unseen,
)
from dp_theory.numerics.costs import Costs
from dp_theory.numerics.quadrature import both_below
from dp_theory.ridge.theorem1 import theorem1
from dp_theory.rules import KeepHard

if TYPE_CHECKING:
    import pandas as pd

# The order of the quadrature rules.
ORDER = 24
# The share of wrong labels that stands for none.
MIN_SHARE = 1e-4


class Shares(NamedTuple):
    """Shares of the rows within a window."""

    missed: float  # whose label is not the learner's answer
    wrong: float  # whose label is not the true one


def shares(flips: BoundaryFlips, test_error: float, alpha: float = np.inf) -> Shares:
    """What a learner of this test error meets within its window |t| ≤ alpha.

    Parameters
    ----------
    flips
        How labels are wrong near the boundary.
    test_error
        The learner's, inside (0, 1/2).
    alpha
        The window's end, positive, in standard deviations of the learner's scores.

    Returns
    -------
    Shares
        Of the rows within the window.

    Raises
    ------
    InputError
        For what are no BoundaryFlips, and for numbers outside their domain.

    Examples
    --------
    >>> from dp_theory import BoundaryFlips
    >>> of_window = shares(BoundaryFlips(0.3), test_error=0.1, alpha=0.2)
    >>> round(of_window.missed, 3), round(of_window.wrong, 3)
    (0.414, 0.236)
    """
    _require_flips(flips)
    test_error, alpha = require_number(test_error=test_error, alpha=alpha)
    require_in("(0, 1/2)", "it is the learner's", test_error=test_error)
    window = KeepHard(alpha)
    cosine, sine = float(np.cos(np.pi * test_error)), float(np.sin(np.pi * test_error))
    rows = PlacedRows(Addition(1.0, keep=window), flips, np.eye(2), cosine, float(sine_of(cosine)))
    t, measure, labels = score_nodes(rows, ORDER)
    mass = measure * (t > 0) * window.keep_probability(t)
    kept = float(mass.sum())
    # 2 eps of the rows have the label of a noisier margin, of this correlation with -z
    noisier = np.hypot(sine, flips.width)
    z, noisy = cosine * t / sine, cosine * t / noisier
    differ = both_below(z, -noisy, -sine / noisier) + both_below(-z, noisy, -sine / noisier)
    return Shares(missed=float(mass @ labels[1, 0]) / kept, wrong=2 * flips.eps * float(mass @ differ) / kept)


def judged_share(confirmed: float, judge: float = 1.0) -> float:
    """The share of plain labels that are wrong, from the share that a judge confirms.

    Judge and generator see the margin through noise of their own (T8.4). Their labels are signs of normals that differ
    with a probability of their angle over π:

        cos(π P(judge ≠ label)) = cos(π P(label wrong)) · cos(π P(judge wrong))

    Parameters
    ----------
    confirmed
        Share of plain labels that the judge confirms.
    judge
        The judge's accuracy on real rows.

    Returns
    -------
    float
        At least MIN_SHARE, which stands for none.

    Raises
    ------
    InputError
        For shares outside (1/2, 1].
    """
    confirmed, judge = require_number(confirmed=confirmed, judge=judge)
    require_in("(1/2, 1]", "it is a share of what is right", confirmed=confirmed, judge=judge)
    cosine = np.cos(np.pi * (1 - confirmed)) / np.cos(np.pi * (1 - judge))
    return max(float(np.arccos(min(cosine, 1.0)) / np.pi), MIN_SHARE)


def row_worth(flips: BoundaryFlips) -> float:
    """How many plain rows teach as much as one at the boundary, once the learner knows where that is (T8.9).

    It is the limit of narrow windows for a selector that is the truth, lam → 0+ and psi = d/kept < 1: infinite, unless
    labels at the boundary are a coin's.

    Examples
    --------
    >>> from dp_theory import BoundaryFlips
    >>> round(row_worth(BoundaryFlips(0.5)), 3)
    2.454
    """
    _require_flips(flips)
    return 1 + (1 - 2 / np.pi) / flips.width**2 if flips.eps == 0.5 else np.inf


# κ of a `Window`.
WINDOWS = (0.25, 1.0)
# Ridges of loops, per row of the first pool.
LAMS = (3e-4, 0.003, 0.03, 0.1, 0.3, 1.0, 3.0)
# Firmer ridges, over the best one of plain rows: rows near the boundary have more wrong labels.
FIRMER = (3.0, 10.0)
COSTS = Costs()
# Relative difference of errors that says nothing.
_SAME = 1e-12
# As many as any loop is asked for.
MAX_ROUNDS = 1000


def plain_lam(flips: BoundaryFlips, rows: Any) -> Any:
    """The best ridge per row of static data, `rows` per dimension, a number or an array (T8.7)."""
    _require_flips(flips)
    require_positive("it is the number of rows per dimension", rows=rows)
    return (1 / flips.signal**2 - 1) / numbers("rows", rows)


def plain_error(flips: BoundaryFlips, rows: Any) -> Any:
    """Test error of static data, `rows` per dimension, at the best ridge."""
    lam = plain_lam(flips, rows)
    return theorem1(1.0, 1.0, 0.0, flips.signal, 1.0, 1 / np.asarray(rows, float), lam)[0]


def plain_rows(flips: BoundaryFlips, test_error: float) -> float:
    """Static rows per dimension that reach a test error: `plain_error` solved for them."""
    _require_flips(flips)
    (test_error,) = require_number(test_error=test_error)
    require_in("(0, 1/2)", "it is the learner's", test_error=test_error)
    signal, cosine = flips.signal**2, np.cos(np.pi * test_error) ** 2
    return float(cosine * (1 - signal * cosine) / signal / np.sin(np.pi * test_error) ** 2)


def worth(
    flips: BoundaryFlips,
    *,
    rounds: int = 12,
    phi: float = 0.5,
    windows: Sequence[float] = WINDOWS,
    lams: Sequence[float] | None = None,
    advance: Advance = unseen,
) -> "pd.DataFrame":
    """Practice against static data, at the best window and ridge of each stage.

    Parameters
    ----------
    flips
        How labels are wrong near the boundary.
    rounds
        Rounds of practice, from 1 to MAX_ROUNDS.
    phi
        d over the rows of each round, and of the first pool, positive.
    windows, lams
        Thresholds over tan(πE), positive, and ridges per row of the first pool, at least 0, of which the best are
        taken.
    advance
        It is called with 1 after each of the `loops_of_worth`.

    Returns
    -------
    DataFrame
        A row for each stage. `kept` counts training rows per dimension; `samples` and `compute` are static data's cost
        of this error over practice's; `saved` and `saved_compute` are shares of static data's error; `missed` and
        `wrong` are shares of the stage's new rows.

    Raises
    ------
    InputError
        For what are no BoundaryFlips, and for numbers outside their domain.
    """
    import pandas as pd

    require_whole(rounds=rounds)
    require_size("rounds", rounds, 1, MAX_ROUNDS, "it is the number of rounds of practice")
    runs: list[tuple[float, float, Solution]] = []
    for kappa, lam in _loops(flips, phi, windows, lams):
        runs.append((kappa, lam, solve_loop(PracticeProblem(phi, lam, [Window(kappa)] * rounds, flip=flips))))
        advance(1)
    rows = []
    for stage in range(rounds + 1):
        kappa, lam, best = min(runs, key=lambda run: run[2].test_error[stage])
        error = float(best.test_error[stage])
        first, kept = best.sizes()[0, [0, stage]] / phi
        compute = COSTS.axes("direct", kept, kept, first=first)["compute"]
        rows_to_same_error = plain_rows(flips, error)
        rows_for_same_cost = compute / COSTS.row("static")
        new = Shares(np.nan, flips.share)
        if stage:
            added: Any = best.additions[stage - 1]
            new = shares(flips, float(best.test_error[stage - 1]), added.keep.alpha)
        rows.append(
            {
                "stage": stage,
                "kept": kept,
                "window": kappa,
                "lam": lam,
                "test_error": error,
                "samples": rows_to_same_error / kept,
                "compute": rows_to_same_error / rows_for_same_cost,
                "saved": _saved(error, plain_error(flips, kept)),
                "saved_compute": _saved(error, plain_error(flips, rows_for_same_cost)),
                "missed": new.missed,
                "wrong": new.wrong,
            }
        )
    return pd.DataFrame(rows).astype({"stage": int})


def _saved(error: float, plain: float) -> float:
    return 0.0 if abs(error - plain) < _SAME * plain else 1 - error / plain


def loops_of_worth(flips: BoundaryFlips, phi: float, windows: Sequence[float] = WINDOWS) -> int:
    """The number of loops that `worth` solves."""
    return len(_loops(flips, phi, windows))


def _loops(
    flips: BoundaryFlips, phi: float, windows: Sequence[float], lams: Sequence[float] | None = None
) -> list[tuple[float, float]]:
    """Window and ridge of each."""
    _require_flips(flips)
    require_positive_number("it is d over the rows of a round", phi=phi)
    if lams is None:
        plain = float(plain_lam(flips, 1 / phi))
        lams = [*LAMS, plain, *(plain * factor for factor in FIRMER if plain * factor > LAMS[-1])]
    require_positive("the threshold is a window's times tan(πE)", windows=windows)
    require_ridge(lams=lams)
    require_some(windows=windows, lams=lams)
    return list(product(list_of(windows), list_of(lams)))


def _require_flips(flips: BoundaryFlips) -> None:
    require_kind("flips", flips, BoundaryFlips, "BoundaryFlips, such as BoundaryFlips(0.3)")
