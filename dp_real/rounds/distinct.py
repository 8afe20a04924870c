"""A source whose examples are not nearly alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from dp_base.errors import DivergedError
from dp_real.examples import ExampleSet, NearExamples
from dp_real.pool import Pool
from dp_real.protocols import Learner
from dp_real.rounds.source import DrawnRound, Source
from dp_real.runtime import processes


@dataclass
class DistinctRounds:
    """A Source that drops examples which are nearly one of the pool, of the round so far, or of the validation set.

    What is dropped was generated, and counts as such.
    """

    source: Source
    pool: Pool
    validation: ExampleSet
    near: NearExamples  # which tells what is nearly alike; it has seen nothing yet
    likeness: float  # from which on examples are nearly alike, for messages
    noun: str  # what the examples are called, for messages

    @cached_property
    def seen(self) -> NearExamples:
        """The examples of the validation set and of the pool as it was at first. Only the main process keeps them."""
        self.near.add(self.near.values(self.validation.x))
        self.near.add(self.near.values(self.pool.x))
        return self.near

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """See Source. The round may have fewer rows. Raises DivergedError if it has none."""
        main = processes.this_process().is_main_process
        seen = self.seen if main else None  # as it is before the round
        drawn = self.source.draw(index, labels, learner, total_guidance)
        mine = zip(drawn.batch.row.tolist(), drawn.batch.example.to_pylist(), strict=True)
        everybodys = sorted(processes.gather(list(mine)))
        near = processes.from_main(seen.add([value for _, value in everybodys]) if seen else np.zeros(0, bool))
        kept = np.array([row for row, _ in everybodys])[~near]
        if not len(kept):
            raise DivergedError(
                f"round {index}: all {len(near)} {self.noun} are like earlier ones: "
                f"raise pool.distinct = {self.likeness:g}, or make the generator's {self.noun} more varied"
            )
        return drawn._replace(batch=drawn.batch.among(kept))

    def forget(self) -> None:
        """See Source."""
        self.source.forget()
