"""The best rule of one round of practice: the least test error after that round.

The error is a function of the rule's moments, as for a fixed selector, but the function is a loop. It takes longer than
a formula, and it has valleys with an edge in which a search gets stuck. So there are fewer steps from few starts, and
more ways to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dp_theory.numerics.checks import Array
from dp_theory.selection.margins import MOMENTS, Bands
from dp_theory.selection.partial_loop import PartialLoop, RoundOptions
from dp_theory.selection.search import RuleSearch

if TYPE_CHECKING:
    from jaxtyping import Float

CONVERGED = 0.1  # gap over error below which a search ends

_STEPS = 8  # of conditional gradients from a start
_MORE_STEPS = 24  # of a search that goes on
_MOST_REPEATS = 3  # of a search that goes on
_LEAST_GAIN = 1e-3  # relative gain without which it ends
_FRACTIONS = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0])  # of a step, first tried
_ALIKE = 1e-4  # relative difference of errors that does not matter
_DIFFERENCE = 1e-6  # relative change of a moment, for derivatives

_SIMPLE_KAPPAS = np.geomspace(0.02, 5.0, 12)  # widths of simple windows over the margin of error
_SIMPLE_WIDTHS = np.geomspace(0.05, 4.0, 24)  # widths of simple windows as margins
_ANCHOR = (0.9, 1.1)  # a second band of rows, whose labels their scores tell
_WIDE_START = 1.5  # width of the first start over the margin of error
_NARROW_START = 0.3  # width of the second start's window over the margin of error


class RoundRule(NamedTuple):
    """The rule of a round. gap: to first order, how much less the error after it may be by another rule there."""

    bands: Bands
    gap: float


@dataclass(frozen=True)
class NextError:
    """The test error after one more round, as a function of the moments of its rule: an `Objective`.

    Parameters
    ----------
    loop
        The loop so far.
    options
        What the round may choose from.
    power
        Of the error. The square is smooth where the error itself has an edge, near a rule without any.
    """

    loop: PartialLoop
    options: RoundOptions
    power: int = 1

    def errors(self, moments: Float[np.ndarray, "6 rules"]) -> Float[np.ndarray, " rules"]:
        """The errors of rules with these moments."""
        return np.array([self._error(column) ** self.power for column in moments.T])

    def slope(self, moments: Float[np.ndarray, " 6"]) -> Float[np.ndarray, " 6"]:
        """The derivative by the moments, from forward differences.

        E[uw] may be 0, and is changed in proportion to E[u]. It is not changed at all where rules see no labels, since
        it is 0 then. Other moments that are 0 have no scale to change by, and are left out.
        """
        if not moments[0] > 0:  # nothing is kept, and a little more is nothing
            return np.zeros(MOMENTS)
        here = self._error(moments)
        steps = _DIFFERENCE * moments[[0, 1, 2, 3, 1, 5]]
        total = np.zeros(MOMENTS)
        for place in range(MOMENTS):
            is_known = self.options.labels or place != 4
            if is_known and steps[place]:
                moved = moments.copy()
                moved[place] += steps[place]
                total[place] = (self._error(moved) - here) / steps[place]
        return self.power * here ** (self.power - 1) * total

    def _error(self, moments: Array) -> float:
        """The test error with these moments (6,), 1/2 where no row is kept."""
        if not moments[0] > 0:
            return 0.5
        return self.loop.then_moments(self.options, moments).test_error


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A rule, with its error and its gap, which are computed when they are first asked for."""

    bands: Bands
    search: RuleSearch

    @cached_property
    def error(self) -> float:
        """The test error after the round."""
        return self.search.value(self.bands)

    @cached_property
    def gap(self) -> float:
        """As in `RoundRule`."""
        return self.search.gap(self.bands)

    @property
    def is_converged(self) -> bool:
        """Whether a search may end here."""
        return self.gap < CONVERGED * self.error


class RoundSearch:
    """The search for the rule of the next round of a loop."""

    def __init__(self, loop: PartialLoop, options: RoundOptions) -> None:
        self._margin = loop.margin
        self._labels = options.labels
        self._view = loop.view(options)
        self._search = RuleSearch(self._view, NextError(loop, options), options.least)
        self._squared = RuleSearch(self._view, NextError(loop, options, power=2), options.least)

    def best(self, guess: Bands | None) -> RoundRule:
        """The rule of least error that is found, no worse than any simple rule. `guess`: a first one, if there is any.

        The search ends as soon as a rule is converged. It begins at the guess; then at three starts, one of them the
        best simple rule; then at the best simple rule of each kind; and goes on from the best of all these.
        """
        simple = self._best_simple_rules()
        usual = min(simple, key=lambda rule: rule.error)
        if guess is not None:
            polished = self._candidate(self._search.polish(guess))
            if polished.error <= usual.error and polished.is_converged:
                return RoundRule(polished.bands, polished.gap)
        improved = [self._improved(start, self._search, _STEPS) for start in self._starts(guess, usual.bands)]
        best = self._choice(usual, *improved)
        if not best.is_converged:
            best = self._choice(best, *(self._candidate(self._squared.polish(rule.bands)) for rule in simple))
        best = self._continued(best)
        return RoundRule(best.bands, best.gap)

    def _candidate(self, bands: Bands) -> _Candidate:
        return _Candidate(bands, self._search)

    def _best_simple_rules(self) -> list[_Candidate]:
        """The best rule of each kind of simple rules, widened to the least share."""
        kinds = simple_rules(self._margin, self._labels)
        candidates = [[self._candidate(self._search.widened(bands)) for bands in kind] for kind in kinds if kind]
        return [min(kind, key=lambda rule: rule.error) for kind in candidates]

    def _starts(self, guess: Bands | None, usual: Bands) -> list[Bands]:
        """Where searches begin: the guess or a wide window; a narrow window with an anchor; the best simple rule."""
        low = -_WIDE_START * self._margin * self._labels
        wide = Bands(((low, _WIDE_START * self._margin),), self._labels)
        narrow = Bands(((low, _NARROW_START * self._margin), _ANCHOR), self._labels)
        return [wide if guess is None else guess, narrow, usual]

    def _improved(self, start: Bands, search: RuleSearch, steps: int) -> _Candidate:
        """The rule that `search` finds from a start: by steps of conditional gradients, and then moving edges."""
        atoms = start(self._view.atoms[0], 1.0)
        near = self._view.bands(search.explore(atoms, steps, _FRACTIONS))
        return self._candidate(search.polish(near))

    def _continued(self, best: _Candidate) -> _Candidate:
        """The rule that the search for the least squared error ends at, if it goes on from this one."""
        for _ in range(_MOST_REPEATS):
            if best.is_converged:
                break
            last = best
            moved = self._squared.polish(best.bands)
            improved = self._improved(moved, self._squared, _MORE_STEPS)
            best = self._choice(best, self._candidate(moved), improved)
            if best.error > (1 - _LEAST_GAIN) * last.error:
                break
        return best

    def _choice(self, *rules: _Candidate) -> _Candidate:
        """The rule of least error; of those with nearly the same, the one of least gap.

        The latter has no bands that hold next to nothing.
        """
        least = min(rule.error for rule in rules)
        alike = [rule for rule in rules if rule.error <= least * (1 + _ALIKE)]
        return alike[0] if len(alike) == 1 else min(alike, key=lambda rule: rule.gap)


def simple_rules(margin: float, labels: bool) -> list[Sequence[Bands]]:
    """Rules of three simple kinds.

    The first kind are windows around the boundary. Their widths are multiples of the margin of error `margin`, fixed
    margins, and infinite: that keeps all. The second are those of them that lie below the anchor, with the anchor. The
    third are rings, which keep nothing until they are widened.
    """
    widths = sorted({*(margin * _SIMPLE_KAPPAS), *_SIMPLE_WIDTHS, np.inf})
    windows = [(-width if labels else 0.0, width) for width in widths]
    anchored = [Bands((window, _ANCHOR), labels) for window in windows if window[1] < _ANCHOR[0]]
    rings = [Bands(((width, width),), labels) for width in _SIMPLE_WIDTHS]
    return [[Bands((window,), labels) for window in windows], anchored, rings]


def carried_over(bands: Bands, margin: float, now: float) -> Bands:
    """The rule of a round as a guess for the next one, when the margin of error changes from `margin` to `now`.

    Bands near the boundary shrink with it, others stay.
    """
    moved = []
    for low, high in bands.bands:
        is_near = abs(low) < 2 * margin and abs(high) < 3 * margin
        moved.append((low * now / margin, high * now / margin) if is_near else (low, high))
    return Bands(tuple(moved), bands.labels)
