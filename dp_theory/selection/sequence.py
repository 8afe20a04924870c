"""The best sequence of rules for the practice loop.

What a round adds counts by the moments of its rows alone. So a rule that is best for the next learner keeps rows by
their worth, as a fixed selector's does: it keeps bands of |t|, or of the margin y·t where labels are seen.

The greedy sequence takes each round's rule for the error after that round (dp_theory.selection.round_search). The full
sequence moves all rules together for the error after the last (dp_theory.selection.joint_search).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import require
from dp_theory.numerics.costs import SMALLEST_KEEP
from dp_theory.practice.additions import Addition
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.selection.joint_search import JointSearch
from dp_theory.selection.margins import Bands
from dp_theory.selection.partial_loop import PartialLoop, RoundOptions
from dp_theory.selection.round_search import RoundRule, RoundSearch, carried_over
from dp_theory.span.flips import BoundaryFlips

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class BestSequence:
    """The best rules, round by round.

    Attributes
    ----------
    problem
        The loop with these rules. `predict` of it has everything else.
    bands
        The rules.
    test_error
        Test error of each stage.
    kept, candidates
        Rows kept and looked at so far, in units of n.
    margins
        tan(πE) of the learner that selects in each round.
    gap
        To first order, how much less the error after a round may be by another rule there. It is nan for `full`, whose
        rules serve the last error.
    """

    problem: PracticeProblem
    bands: list[Bands]
    test_error: Float[np.ndarray, " stages"]
    kept: Float[np.ndarray, " stages"]
    candidates: Float[np.ndarray, " stages"]
    margins: Float[np.ndarray, " rounds"]
    gap: Float[np.ndarray, " rounds"]


def best_sequence(
    problem: PracticeProblem,
    rounds: int,
    *,
    kept: float | None = None,
    candidates: float | None = None,
    labels: bool = False,
    full: bool = False,
    least: float = SMALLEST_KEEP,
) -> BestSequence:
    """The best rules for the rounds of a loop. Optima are local, found from several starts.

    Parameters
    ----------
    problem
        The loop with the square loss, Σ = I and an accumulated pool. Its own additions are ignored.
    rounds
        Number of rounds.
    kept, candidates
        Exactly one is given: how many rows a round may keep, or look at, in units of n.
    labels
        Whether rules see the observed labels.
    full
        Whether all rules together serve the error after the last round, rather than each the error after its own.
    least
        The smallest share of the candidates that a rule may keep.

    Raises
    ------
    InputError
        For a problem with a spectrum, without accumulation, with another loss, or whose flips depend on the row.

    Examples
    --------
    >>> from dp_theory import PracticeProblem, best_sequence
    >>> found = best_sequence(PracticeProblem(0.25, 0.01), rounds=2, kept=1.0, least=0.1)
    >>> [str(bands) for bands in found.bands]
    ['0 < |t| < 0.0714 or 0.4612 < |t| < 0.5222', '0 < |t| < 0.08062 or 0.7995 < |t| < 0.8628']
    """
    if isinstance(problem.flip, BoundaryFlips):
        raise InputError("the best sequence is known for flips of one probability: give flip a number")
    if problem.spectrum is not None or not problem.accumulate:
        raise InputError("the best sequence is known for Σ = I and an accumulated pool: leave out spectrum, accumulate")
    require("rounds", rounds, rounds >= 1, "be at least 1")
    require("smallest keep", least, 0 < least < 1, "lie in (0, 1): it is a kept fraction")
    options = RoundOptions(Addition(candidates, kept), labels, least)
    first = PartialLoop.first(replace(problem, additions=(options.rows,) * rounds))
    greedy = _greedy_rules(first, options, rounds)
    bands = [rule.bands for rule in greedy]
    gaps = [rule.gap for rule in greedy]
    if full:
        bands = JointSearch(first, options, bands).best()
        gaps = [np.nan] * rounds
    loops = first.after_each(options, bands)
    cohorts = loops[-1].cohorts
    return BestSequence(
        problem=replace(problem, additions=[options.addition(rule) for rule in bands]),
        bands=bands,
        test_error=np.array([loop.test_error for loop in loops]),
        kept=np.cumsum([cohort.mass.sum() for cohort in cohorts]),
        candidates=np.cumsum([cohort.candidates for cohort in cohorts], dtype=float),
        margins=np.array([loop.margin for loop in loops[:-1]]),
        gap=np.array(gaps),
    )


def _greedy_rules(first: PartialLoop, options: RoundOptions, rounds: int) -> list[RoundRule]:
    """The rule of each round for the error after that round, from the loop after its first pool."""
    loops = [first]
    rules: list[RoundRule] = []
    for _ in range(rounds):
        guess = carried_over(rules[-1].bands, loops[-2].margin, loops[-1].margin) if rules else None
        rules.append(RoundSearch(loops[-1], options).best(guess))
        loops.append(loops[-1].then_bands(options, rules[-1].bands))
    return rules
