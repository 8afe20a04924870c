"""Sources that leave out examples of another: those that are nearly alike, and those that a person marked as wrong."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from dp_base.errors import DivergedError
from dp_real.examples import ExampleSet, NearExamples
from dp_real.pool import Pool
from dp_real.pool.marks import mark_of
from dp_real.pool.storages import Storage
from dp_real.protocols import Learner
from dp_real.rounds.source import DrawnRound, Source
from dp_real.runtime import processes
from dp_real.runtime.pixels import to_float

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class UnmarkedRounds:
    """A Source that drops marked examples (dp_real.pool.marks). What is dropped was generated, and counts as such."""

    source: Source
    storage: Storage  # of the pool
    classes: tuple[str, ...]
    marks: frozenset[str]

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """See Source. The round may have fewer rows. Raises DivergedError if it has none."""
        drawn = self.source.draw(index, labels, learner, total_guidance)
        examples = to_float(self.storage.decode(drawn.batch.table()["example"].combine_chunks()))
        own = zip(drawn.batch.row.tolist(), drawn.batch.label.tolist(), examples, strict=True)
        good = [row for row, label, example in own if mark_of(example, self.classes[label]) not in self.marks]
        kept = np.array(sorted(processes.gather(good)), np.int64)
        dropped = sum(processes.gather([len(drawn.batch)])) - len(kept)
        if not len(kept):
            raise DivergedError(f"round {index}: pool.marks leaves out all {dropped} examples: mark fewer")
        if dropped and processes.this_process().is_main_process:
            log.warning("round %d: %d examples are left out, as pool.marks says", index, dropped)
        return drawn._replace(batch=drawn.batch.among(kept))

    def forget(self) -> None:
        """See Source."""
        self.source.forget()
