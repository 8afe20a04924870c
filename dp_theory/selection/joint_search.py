"""The rules of all rounds of practice, moved together to the least test error after the last round."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from dp_theory.numerics.checks import Array
from dp_theory.selection.margins import Bands
from dp_theory.selection.partial_loop import PartialLoop, RoundOptions

if TYPE_CHECKING:
    from jaxtyping import Float

_STEPS = 20  # of the search
_TOLERANCE = 1e-6  # of ln of the error, at which it ends
_DIFFERENCE = 1e-5  # relative change of an edge, for derivatives
_FARTHEST = 1.5  # ln of the largest edge
_NEAREST = 4.0  # by how much ln of an edge may fall
_SHARE_MARGIN = 1e-4  # ln of kept shares over the least one, during the search
_SHARE_ERROR = 1e-9  # by which ln of the least share may be missed in the end
_REMEMBERED = 2  # evaluations: a line search asks for the same point several times


class _Edges:
    """The finite edges, other than 0, of the rules of all rounds. They move by their logarithms (edges,)."""

    def __init__(self, rules: Sequence[Bands]) -> None:
        self._labels = rules[0].labels
        self._of_rules = [bands.edges for bands in rules]
        self._moves = [np.isfinite(edges) & (edges != 0) for edges in self._of_rules]
        start = np.concatenate([edges[moves] for edges, moves in zip(self._of_rules, self._moves, strict=True)])
        self.sign = np.sign(start)
        self.start = np.log(np.abs(start))
        self.owner = np.repeat(np.arange(len(rules)), [moves.sum() for moves in self._moves])  # round of each edge
        self._before_another = np.flatnonzero(self.owner[1:] == self.owner[:-1])  # edges with one to their right

    def rules(self, logs: Array) -> list[Bands]:
        """The rules with these edges."""
        positions = self.sign * np.exp(logs)
        rules = []
        for number, (edges, moves) in enumerate(zip(self._of_rules, self._moves, strict=True)):
            new = edges.copy()
            new[moves] = np.sort(positions[self.owner == number])
            rules.append(Bands.between(new, self._labels))
        return rules

    def distances(self, logs: Array) -> Array:
        """Distances between neighbouring edges of a rule (neighbours,), positive where these are in order."""
        return np.diff(self.sign * np.exp(logs))[self._before_another]

    def distance_slopes(self, logs: Array) -> Array:
        """The derivative of the distances by the logarithms (neighbours, edges)."""
        return np.diff(np.diag(self.sign * np.exp(logs)), axis=0)[self._before_another]


class _Evaluation:
    """The loops with edges at one point, and what they depend on."""

    def __init__(self, first: PartialLoop, options: RoundOptions, edges: _Edges, logs: Array) -> None:
        self._options = options
        self._edges = edges
        self.logs = logs
        self._loops = first.after_each(options, edges.rules(logs))

    @cached_property
    def outcome(self) -> Float[np.ndarray, " 1+rounds"]:
        """ln of the last error, and ln of the share kept in each round."""
        return _outcome(self._loops[-1])

    @cached_property
    def slopes(self) -> Float[np.ndarray, "1+rounds edges"]:
        """The derivative of the outcome by the logarithms of the edges.

        An edge is changed from its own round on. What comes before is not solved again.
        """
        columns = []
        for place, owner in enumerate(self._edges.owner):
            changed = self.logs.copy()
            changed[place] += _DIFFERENCE
            later_rules = self._edges.rules(changed)[owner:]
            last_loop = self._loops[owner].after_each(self._options, later_rules)[-1]
            columns.append((_outcome(last_loop) - self.outcome) / _DIFFERENCE)
        return np.column_stack(columns)


def _outcome(loop: PartialLoop) -> Array:
    """ln of the loop's error, and ln of the share kept in each of its rounds: (1 + rounds,)."""
    shares = [cohort.mass.sum() / cohort.candidates for cohort in loop.cohorts[1:]]
    return np.log([loop.test_error, *shares])


class JointSearch:
    """The search for the edges of all rounds' rules that give the least error after the last round.

    Parameters
    ----------
    first
        The loop after its first pool.
    options
        What rounds may choose from.
    rules
        The rules to begin with, one for each round.
    """

    def __init__(self, first: PartialLoop, options: RoundOptions, rules: Sequence[Bands]) -> None:
        self._first = first
        self._options = options
        self._rules = list(rules)
        self._edges = _Edges(rules)
        self._recent: list[_Evaluation] = []  # the latest last

    def best(self) -> list[Bands]:
        """The rules at the optimum nearby, or those to begin with if it is not better."""
        start = self._edges.start
        found = minimize(
            lambda logs: self._at(logs).outcome[0],
            start,
            jac=lambda logs: self._at(logs).slopes[0],
            method="SLSQP",
            bounds=[(log - _NEAREST, _FARTHEST) for log in start],
            constraints=self._constraints(),
            options={"maxiter": _STEPS, "ftol": _TOLERANCE},
        )
        outcome = self._at(found.x).outcome
        is_better = outcome[0] < self._at(start).outcome[0]
        keeps_enough = outcome[1:].min() > np.log(self._options.least) - _SHARE_ERROR
        return self._edges.rules(found.x) if is_better and keeps_enough else self._rules

    def _constraints(self) -> list[dict[str, Any]]:
        """The constraints, as scipy takes them: every round keeps the least share, and edges stay in order."""
        least = np.log(self._options.least)
        shares = {
            "type": "ineq",
            "fun": lambda logs: self._at(logs).outcome[1:] - least - _SHARE_MARGIN,
            "jac": lambda logs: self._at(logs).slopes[1:],
        }
        order = {"type": "ineq", "fun": self._edges.distances, "jac": self._edges.distance_slopes}
        return [shares, order]

    def _at(self, logs: Array) -> _Evaluation:
        """The evaluation at a point; it is made unless it is one of the last few."""
        for evaluation in self._recent:
            if np.array_equal(evaluation.logs, logs):
                return evaluation
        evaluation = _Evaluation(self._first, self._options, self._edges, logs.copy())
        self._recent = [*self._recent[1 - _REMEMBERED :], evaluation]
        return evaluation
