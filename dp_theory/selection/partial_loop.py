"""A practice loop as far as it has come, and what its next round may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import InputError
from dp_theory.practice.additions import LARGEST_ERROR, Addition
from dp_theory.practice.cohorts import Cohort, make_cohort
from dp_theory.practice.dmft import OrderParameters
from dp_theory.practice.loop import Loop
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.prediction import ORDER
from dp_theory.selection.margins import Bands, SelectorView
from dp_theory.span.flips import BoundaryFlips
from dp_theory.span.losses import Square

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class RoundOptions:
    """What every round may choose from.

    Parameters
    ----------
    rows
        An addition that says how many rows are kept or looked at. Its rule is ignored.
    labels
        Whether rules see the observed labels.
    least
        The smallest share of what a rule looks at that it may keep.
    """

    rows: Addition
    labels: bool
    least: float

    def addition(self, bands: Bands) -> Addition:
        """The rows of a round with this rule."""
        return replace(self.rows, keep=bands if bands.labels else bands.rule, breaks=bands.breaks)

    def cohort(self, moments: Float[np.ndarray, " 6"], stage: int, last: int) -> Cohort:
        """The rows of a rule with these moments, which the learner of the stage before `stage` selects.

        They train the stages from `stage` up to `last`, without that.
        """
        p, c_s, c_v, ss, sv, vv = moments
        size = self.rows.candidates_at(p)
        linear = np.array([[c_s, c_v]])
        second = np.array([[[ss, sv], [sv, vv]]])
        return Cohort(
            weight=np.ones(1),
            mass=np.array([size * p]),
            linear=size * linear,
            second=size * second,
            candidates=size,
            selector=stage - 1,
            first=stage,
            last=last,
            error=0.0,
        )


@dataclass(frozen=True)
class PartialLoop:
    """A loop after some of its rounds. It never changes: `then` gives the loop after one more round."""

    solved: Loop

    @classmethod
    def first(cls, problem: PracticeProblem) -> PartialLoop:
        """The loop after its first pool. Raises InputError for losses other than the square."""
        if not isinstance(problem.loss, Square):
            raise InputError(f"the best sequence is known for the square loss, not for {problem.loss}")
        return cls(Loop.of(problem)).then(
            make_cohort(problem.initial_rows, problem.flip, 1.0, None, 0, problem.stages, ORDER)
        )

    def then(self, cohort: Cohort) -> PartialLoop:
        """The loop after a round that adds this cohort."""
        return PartialLoop(self.solved.next_stage(cohort)[0])

    @property
    def problem(self) -> PracticeProblem:
        """The whole loop."""
        return self.solved.problem

    @property
    def cohorts(self) -> tuple[Cohort, ...]:
        """The rows of each round so far."""
        return tuple(rows.cohort for rows in self.solved.cohorts)

    @property
    def parameters(self) -> OrderParameters:
        """The order parameters so far."""
        return self.solved.parameters

    def then_moments(self, options: RoundOptions, moments: Float[np.ndarray, " 6"]) -> PartialLoop:
        """The loop after a round whose rule has these moments."""
        return self.then(options.cohort(moments, len(self.cohorts), self.problem.stages))

    def then_bands(self, options: RoundOptions, bands: Bands) -> PartialLoop:
        """The loop after a round with this rule."""
        return self.then_moments(options, self.view(options).moments(bands))

    def after_each(self, options: RoundOptions, rules: Sequence[Bands]) -> list[PartialLoop]:
        """This loop, and the loops after each of several further rounds."""
        loops: list[PartialLoop] = [self]
        for bands in rules:
            loops.append(loops[-1].then_bands(options, bands))
        return loops

    @cached_property
    def test_error(self) -> float:
        """The test error of the newest learner."""
        return self.solved.test_error

    @property
    def margin(self) -> float:
        """tan(πE), the scale of the margins at which the newest learner errs."""
        return float(np.tan(np.pi * min(self.test_error, LARGEST_ERROR)))

    def view(self, options: RoundOptions) -> SelectorView:
        """What the newest learner sees of fresh rows."""
        assert not isinstance(self.problem.flip, BoundaryFlips), "it was refused"
        return SelectorView(float(self.parameters.cosine()), self.problem.flip, options.labels)
