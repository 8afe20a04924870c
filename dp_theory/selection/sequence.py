"""The best sequence of rules for the practice loop.

Each round's rule for the error after that round (greedy), or all rules together for the error after the last (full).

What a round adds counts by the moments of its rows alone, so that a rule that is best for the next learner keeps rows
by their worth, as a fixed selector's does: bands of |t|, or of the margin y·t where labels are seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array, require
from dp_theory.numerics.costs import SMALLEST_KEEP
from dp_theory.practice import Addition, PracticeProblem
from dp_theory.practice.cohorts import Cohort, make_cohort
from dp_theory.practice.dmft import Forces, next_stage, overlaps
from dp_theory.practice.prediction import ORDER, solve_stages
from dp_theory.rules import KeepAll, KeepHard
from dp_theory.selection.margins import FEATURES, Bands, View
from dp_theory.selection.search import explore, gap, polish, widened
from dp_theory.span.flips import BoundaryFlips
from dp_theory.span.losses import Square

_LOGS, _SPACING = (-4.0, 9.0), 0.5  # ln kappa of windows that are tried before the best is looked for beside them
_NEAR = 0.1  # gap over error, from which a search is not begun afresh
_ANCHOR, _STEPS = (0.9, 1.1), 8  # of a second start: rows whose labels their scores tell; steps of a search
_ROUNDING = 1e-9  # relative, of errors that are the same
_ALIKE = 1e-4  # relative difference of errors that does not matter
_AGAIN, _MORE, _GAIN = 3, 24, 1e-3  # searches that go on, their steps, and the relative gain without which they end
_KAPPAS, _WIDTHS = np.geomspace(0.02, 5.0, 12), np.geomspace(0.05, 4.0, 24)  # of simple windows: over tan(πE), in |t|
_STEP, _WINDOW = 1e-6, 1e-5  # relative, of moments and of thresholds, for derivatives
_TOGETHER, _FARTHEST, _MARGIN = 20, 1.5, 1e-4  # steps; ln of an edge; ln of a kept share over the least
_FRACTIONS = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0])  # a loop takes longer than a formula


@dataclass(frozen=True)
class Rounds:
    """What every round may choose from: rules that keep at least `least` of what they look at.

    rows: says how many are kept or looked at. labels: whether rules see the labels.
    """

    rows: Addition
    labels: bool
    least: float

    def addition(self, bands: Bands) -> Addition:
        """The rows of a round with this rule."""
        return replace(self.rows, keep=bands if bands.labels else bands.rule, breaks=bands.breaks)

    def cohort(self, moments: Array, stage: int, last: int) -> Cohort:
        """The rows of a rule with these moments (6,), chosen by the learner of the stage before."""
        p, c_s, c_v, ss, sv, vv = moments
        size = self.rows.size(p)
        linear, second = np.array([[c_s, c_v]]), np.array([[[ss, sv], [sv, vv]]])
        return Cohort(np.ones(1), np.array([size * p]), size * linear, size * second, size, stage - 1, stage, last, 0.0)


@dataclass(frozen=True)
class Loop:
    """A loop as far as it has come: cohorts, order parameters of dp_theory.practice.dmft, and the forces there."""

    problem: PracticeProblem
    cohorts: tuple[Cohort, ...]
    a: Array
    c: Array
    x: Array
    forces: Forces

    @classmethod
    def first(cls, problem: PracticeProblem) -> Loop:
        """After the first pool. Raises InputError for losses other than the square, whose rounds are not linear."""
        if not isinstance(problem.loss, Square):
            raise InputError(f"the best sequence is known for the square loss, not for {problem.loss}")
        rows = make_cohort(problem.initial_rows, problem.flip, 1.0, None, 0, problem.stages, ORDER)
        none, square = np.zeros(0), np.zeros((0, 0))
        return cls(problem, (), none, square, square, Forces(square, square, none)).then(rows)

    def then(self, cohort: Cohort) -> Loop:
        """After one more round."""
        cohorts = (*self.cohorts, cohort)
        a, c, x, forces, _ = next_stage(self.problem, cohorts, self.a, self.c, self.x)
        return Loop(self.problem, cohorts, a, c, x, forces)

    @cached_property
    def test_error(self) -> float:
        """Of the newest learner."""
        overlap, own = overlaps(self.problem, self.forces, self.a)[-1], self.a[-1]
        off = self.c[-1, -1] + (own - overlap) * (own + overlap)
        return float(np.arctan2(np.sqrt(off), overlap) / np.pi)

    @property
    def margin(self) -> float:
        """tan(πE), the scale of the margins at which the newest learner errs."""
        return float(np.tan(np.pi * min(self.test_error, 0.499)))

    def view(self, rounds: Rounds) -> View:
        """What the newest learner sees of fresh rows."""
        cosine = self.a[-1] / np.hypot(self.a[-1], np.sqrt(self.c[-1, -1]))
        assert not isinstance(self.problem.flip, BoundaryFlips), "it was refused"
        return View(float(cosine), self.problem.flip, rounds.labels)


@dataclass(frozen=True, eq=False)
class BestSequence:
    """The best rules, round by round: problem is the loop with them, `predict` of it has everything else.

    test_error, kept, candidates: (stages,), the latter two in units of n so far. margins: tan(πE) of the learner that
    selects, (rounds,). gap: (rounds,), to first order how much less the error after a round may be by another rule
    there; nan for `full`, whose rules serve the last error.
    """

    problem: PracticeProblem
    bands: list[Bands]
    test_error: Array
    kept: Array
    candidates: Array
    margins: Array
    gap: Array


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
    """The best rules for `rounds` rounds of a loop, whose own additions are ignored; Σ = I and an accumulated pool.

    Exactly one of kept and candidates, in units of n, is what a round may spend. least: the smallest share of
    candidates that a rule may keep. Optima are local, found from several starts. Raises InputError for a problem with
    a spectrum, without accumulation, or whose flips depend on the row.
    """
    if isinstance(problem.flip, BoundaryFlips):
        raise InputError("the best sequence is known for flips of one probability: give flip a number")
    if problem.spectrum is not None or not problem.accumulate:
        raise InputError("the best sequence is known for Σ = I and an accumulated pool: leave out spectrum, accumulate")
    require("rounds", rounds, rounds >= 1, "be at least 1")
    require("smallest keep", least, 0 < least < 1, "lie in (0, 1): it is a kept fraction")
    choice = Rounds(Addition(candidates, kept), labels, least)
    first = Loop.first(replace(problem, additions=(choice.rows,) * rounds))
    loops, bands, gaps = [first], [], []
    for _ in range(rounds):
        guess = _carried(bands[-1], loops[-2].margin, loops[-1].margin) if bands else None
        best, off = _best_round(loops[-1], choice, guess)
        bands.append(best)
        gaps.append(off)
        loops.append(_next(loops[-1], choice, best))
    if full:
        bands = _together(first, choice, bands)
        loops, gaps = [first], [np.nan] * rounds
        for rule in bands:
            loops.append(_next(loops[-1], choice, rule))
    made, looked = np.cumsum([(k.mass.sum(), k.candidates) for k in loops[-1].cohorts], axis=0).T
    return BestSequence(
        replace(problem, additions=[choice.addition(rule) for rule in bands]),
        bands,
        np.array([loop.test_error for loop in loops]),
        made,
        looked,
        np.array([loop.margin for loop in loops[:-1]]),
        np.array(gaps),
    )


def best_window(
    problem: PracticeProblem,
    rounds: int,
    *,
    kept: float | None = None,
    candidates: float | None = None,
    least: float = SMALLEST_KEEP,
) -> tuple[float, Array]:
    """kappa of the best constant rule |t| < kappa·tan(πE) for the last error, and the errors (stages,) with it.

    kappa is sought between the window of the least share in every round, narrower than which none ever is, and inf,
    which keeps all. Everything else as in `best_sequence`.
    """
    rows, narrowest = Addition(candidates, kept), KeepHard.with_keep_fraction(least).alpha

    def errors(kappa: float) -> Array:
        def plan(error: float) -> Addition:
            if np.isinf(kappa):
                return replace(rows, keep=KeepAll())
            return replace(rows, keep=KeepHard(max(kappa * np.tan(np.pi * min(error, 0.499)), narrowest)))

        return solve_stages(replace(problem, additions=[plan] * rounds)).test_error

    def last(log: float) -> float:
        return float(np.log(errors(np.exp(log))[-1]))

    everything = errors(np.inf)
    lowest = min(_LOGS[0], float(np.log(narrowest / np.tan(np.pi * everything[0]))))
    grid = np.append(np.arange(lowest, _LOGS[1], _SPACING), np.inf)  # several minima: narrow windows, wide ones, none
    found = [last(log) for log in grid]
    place = -1 if found[-1] <= min(found) + _ROUNDING else int(np.argmin(found))  # so wide a window keeps all
    best = float(grid[place])
    if 0 < place < len(grid) - 1:
        near: Any = minimize_scalar(last, bounds=(best - _SPACING, best + _SPACING), method="bounded")
        best = float(near.x) if near.fun < found[place] else best
    return float(np.exp(best)), errors(np.exp(best))


def _next(loop: Loop, rounds: Rounds, bands: Bands) -> Loop:
    """After a round with this rule."""
    return loop.then(rounds.cohort(loop.view(rounds).moments(bands), len(loop.cohorts), loop.problem.stages))


@dataclass(frozen=True)
class _Ahead:
    """The error after one more round, and what moments of its rule (6,) change it by. power: of the error."""

    loop: Loop
    rounds: Rounds
    power: int = 1

    def errors(self, moments: Array) -> Array:
        """Of rules with moments (6, N): (N,)."""
        return np.array([self._error(column) ** self.power for column in moments.T])

    def of(self, bands: Bands) -> float:
        """Of a rule."""
        return float(self.errors(self.loop.view(self.rounds).moments(bands)[:, None])[0])

    def slope(self, moments: Array) -> Array:
        """The derivative (6,)."""
        if not moments[0] > 0:  # nothing is kept, and a little more is nothing
            return np.zeros(FEATURES)
        here, steps = self._error(moments), _STEP * moments[[0, 1, 2, 3, 1, 5]]  # by parts: E[uw] may be 0
        seen = np.eye(FEATURES) if self.rounds.labels else np.delete(np.eye(FEATURES), 4, axis=0)
        known = [e for e in seen if steps @ e]  # a moment of 0 has no scale to step by
        by = np.sum([(self._error(moments + steps * e) - here) / (steps @ e) * e for e in known], axis=0)
        return self.power * here ** (self.power - 1) * by

    def _error(self, moments: Array) -> float:
        if not moments[0] > 0:
            return 0.5
        cohort = self.rounds.cohort(moments, len(self.loop.cohorts), self.loop.problem.stages)
        return self.loop.then(cohort).test_error


def _best_round(loop: Loop, rounds: Rounds, before: Bands | None) -> tuple[Bands, float]:
    """The rule of least error after the next round, and its gap. before: a first guess.

    No worse than any of the `_simple` rules, from the best of which a search begins, too; where the gap is large still,
    it goes on with more steps.
    """
    view, ahead, least = loop.view(rounds), _Ahead(loop, rounds), rounds.least

    def improved(start: Bands, ahead: _Ahead = ahead, steps: int = _STEPS) -> Bands:
        kept = explore(view, ahead.errors, ahead.slope, start(view.atoms[0], 1.0), least, steps, _FRACTIONS)
        return polish(view, view.bands(kept), ahead.errors, ahead.slope, least)

    def off(bands: Bands) -> float:
        return gap(view, bands, ahead.slope, least)

    def best_of(*found: Bands) -> Bands:
        """The one of least error; of those alike the one of least gap, without bands that hold next to nothing."""
        worth = [ahead.of(bands) for bands in found]
        alike = [bands for bands, error in zip(found, worth, strict=True) if error <= min(worth) * (1 + _ALIKE)]
        return min(alike, key=off) if len(alike) > 1 else alike[0]

    kinds = [[widened(view, bands, least) for bands in kind] for kind in _simple(loop.margin, rounds.labels)]
    bests = [min(kind, key=ahead.of) for kind in kinds if kind]
    usual = min(bests, key=ahead.of)
    if before is not None:
        bands = polish(view, before, ahead.errors, ahead.slope, least)
        if ahead.of(bands) <= ahead.of(usual) and off(bands) < _NEAR * ahead.of(bands):
            return bands, off(bands)
    wide, narrow, low = 1.5 * loop.margin, 0.3 * loop.margin, -1.5 * loop.margin * rounds.labels
    starts = before or Bands(((low, wide),), rounds.labels), Bands(((low, narrow), _ANCHOR), rounds.labels), usual
    best = best_of(usual, *(improved(start) for start in starts))
    squared = replace(ahead, power=2)  # smooth where the error itself has an edge: near a rule without any
    if off(best) > _NEAR * ahead.of(best):
        best = best_of(best, *(polish(view, each, squared.errors, squared.slope, least) for each in bests))
    for _ in range(_AGAIN):
        if off(best) < _NEAR * ahead.of(best):
            break
        there = polish(view, best, squared.errors, squared.slope, least)
        last, best = best, best_of(best, there, improved(there, squared, _MORE))
        if ahead.of(best) > (1 - _GAIN) * ahead.of(last):
            break
    return best, off(best)


def _simple(margin: float, labels: bool) -> tuple[list[Bands], list[Bands], list[Bands]]:
    """Windows of widths in units of the margin of error and of the scores, up to keep-all; windows with anchors; rings,
    which keep nothing until they are widened."""
    widths = sorted({*(margin * _KAPPAS), *_WIDTHS, np.inf})
    windows = [(-width if labels else 0.0, width) for width in widths]
    near = [band for band in windows if band[1] < _ANCHOR[0]]
    rings = [(width, width) for width in _WIDTHS]
    anchored = [Bands((band, _ANCHOR), labels) for band in near]
    return [Bands((band,), labels) for band in windows], anchored, [Bands((ring,), labels) for ring in rings]


def _carried(bands: Bands, margin: float, now: float) -> Bands:
    """The rule of a round for the next one: bands near the boundary shrink with the margin of error, others stay."""

    def moved(low: float, high: float) -> tuple[float, float]:
        near = abs(low) < 2 * margin and abs(high) < 3 * margin
        return (low * now / margin, high * now / margin) if near else (low, high)

    return Bands(tuple(moved(*band) for band in bands.bands), bands.labels)


def _together(first: Loop, rounds: Rounds, bands: list[Bands]) -> list[Bands]:
    """The rules with all edges moved together to the least error after the last round.

    Unknowns are the logarithms of the finite edges. What comes before a moved edge is not solved again.
    """
    edges = [np.ravel(rule.bands) for rule in bands]
    owner = np.concatenate([np.full(np.sum(np.isfinite(x) & (x != 0)), i) for i, x in enumerate(edges)])
    start = np.concatenate([x[np.isfinite(x) & (x != 0)] for x in edges])

    def rules(logs: Array) -> list[Bands]:
        moved, found = np.sign(start) * np.exp(logs), []
        for i, x in enumerate(edges):
            new = x.copy()
            new[np.isfinite(x) & (x != 0)] = np.sort(moved[owner == i])
            found.append(Bands.between(new, rounds.labels))
        return found

    def outcome(loops: list[Loop]) -> Array:
        """ln of the last error, and of the share kept in each round (1 + rounds,)."""
        shares = [cohort.mass.sum() / cohort.candidates for cohort in loops[-1].cohorts[1:]]
        return np.log([loops[-1].test_error, *shares])

    @lru_cache(maxsize=2)
    def solved(logs: tuple[float, ...]) -> list[Loop]:
        """The loop after each round."""
        loops = [first]
        for rule in rules(np.array(logs)):
            loops.append(_next(loops[-1], rounds, rule))
        return loops

    def value(z: Array) -> Array:
        return outcome(solved(tuple(z)))

    @lru_cache(maxsize=1)
    def slopes(logs: tuple[float, ...]) -> Array:
        """The derivative of the outcome (1 + rounds, edges). A line search does without."""
        here, loops = np.array(logs), solved(logs)
        columns, settled = [], outcome(loops)
        for k, i in enumerate(owner):
            moved = loops[: i + 1]
            for rule in rules(here + _WINDOW * (np.arange(len(here)) == k))[i:]:
                moved = [*moved, _next(moved[-1], rounds, rule)]
            columns.append((outcome(moved) - settled) / _WINDOW)
        return np.column_stack(columns)

    logs = np.log(np.abs(start))
    ahead = np.flatnonzero(owner[1:] == owner[:-1])  # edges with another to their right
    found = minimize(
        lambda z: value(z)[0],
        logs,
        jac=lambda z: slopes(tuple(z))[0],
        method="SLSQP",
        bounds=[(log - 4, _FARTHEST) for log in logs],
        constraints=[
            {"type": "ineq", "fun": lambda z: value(z)[1:] - np.log(rounds.least) - _MARGIN,
             "jac": lambda z: slopes(tuple(z))[1:]},
            {"type": "ineq", "fun": lambda z: np.diff(np.sign(start) * np.exp(z))[ahead],
             "jac": lambda z: np.diff(np.diag(np.sign(start) * np.exp(z)), axis=0)[ahead]},
        ],
        options={"maxiter": _TOGETHER, "ftol": 1e-6},
    )  # fmt: skip
    best = value(found.x)
    better = best[0] < value(logs)[0] and best[1:].min() > np.log(rounds.least) - 1e-9
    return rules(found.x) if better else bands
