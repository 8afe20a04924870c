"""A source without the examples that a person marked as wrong."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dp_base.errors import DivergedError
from dp_real.pool.marks import mark_of
from dp_real.pool.storages import Storage
from dp_real.protocols import Learner
from dp_real.rounds.source import DrawnRound, Source
from dp_real.runtime import processes
from dp_real.runtime.pixels import to_float

log = logging.getLogger(__name__)


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
