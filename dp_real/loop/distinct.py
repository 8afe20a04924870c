"""A source whose texts are not nearly alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from dp_base.errors import DivergedError
from dp_real.examples import ExampleSet
from dp_real.pool import Pool, texts_of
from dp_real.protocols import Learner
from dp_real.rounds.source import DrawnRound, Source
from dp_real.runtime import processes
from dp_real.text.near import NearTexts


@dataclass
class DistinctTexts:
    """A Source that drops texts that are nearly one of the pool, of the round so far, or of the validation set.

    likeness: see dp_real.text.near. What is dropped was generated, and counts as such.
    """

    source: Source
    pool: Pool
    validation: ExampleSet
    likeness: float

    @cached_property
    def seen(self) -> NearTexts:
        """The texts of the validation set and of the pool as it was at first. The main process alone keeps them."""
        seen = NearTexts(self.likeness)
        seen.add(texts_of(self.validation.x))
        seen.add(texts_of(self.pool.x))
        return seen

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """See Source. The round may have fewer rows. Raises DivergedError if it has none."""
        main = processes.this_process().is_main_process
        seen = self.seen if main else None  # as it is before the round
        drawn = self.source.draw(index, labels, learner, total_guidance)
        mine = zip(drawn.batch.row.tolist(), drawn.batch.example.to_pylist(), strict=True)
        everybodys = sorted(processes.gather(list(mine)))
        near = processes.from_main(seen.add([text for _, text in everybodys]) if seen else np.zeros(0, bool))
        kept = np.array([row for row, _ in everybodys])[~near]
        if not len(kept):
            raise DivergedError(
                f"round {index}: all {len(near)} texts are like earlier ones: raise pool.distinct = {self.likeness:g}, "
                "or make the generator's texts more varied"
            )
        batch = drawn.batch.select(np.isin(drawn.batch.row, kept))
        return drawn._replace(batch=replace(batch, row=kept.searchsorted(batch.row)))

    def forget(self) -> None:
        """See Source."""
        self.source.forget()
