"""Sources of real examples: a pool of them alone, and one that begins with them and goes on with generated ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dp_real.config import Config
from dp_real.data.sets.long_tail import tail_rows
from dp_real.examples import TrainingExamples, balanced_rows
from dp_real.pool import REAL_SEED, Batch
from dp_real.pool.storages import Storage
from dp_real.protocols import Learner
from dp_real.rounds.drawing_costs import DrawCounts
from dp_real.rounds.samples import Samples, as_batch
from dp_real.rounds.source import DrawnRound, GeneratedRounds, assessed
from dp_real.runtime import processes


@dataclass(frozen=True)
class RealRounds:
    """A Source of real training examples alone, to compare generated ones with. Its one round costs nothing.

    There must be as many examples as the configuration asks for (dp_real.runs.prepare.check_real_examples). Runs on
    one data split take the same ones.
    """

    config: Config
    examples: TrainingExamples
    storage: Storage

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """As many examples as there are labels. The main process has all rows.

        The classes are those of the labels if practice.imbalance asks for that, and else what balanced_rows finds.
        """
        y = self.examples.y.numpy()
        split = self.config.data.split
        if self.config.practice.imbalance > 1:
            chosen = tail_rows(y, labels, split)
        else:
            chosen = torch.from_numpy(balanced_rows(y, len(labels), split))
        if not processes.this_process().is_main_process:
            chosen = chosen[:0]
        y = self.examples.y[chosen]
        zeros = np.zeros(len(chosen), np.int64)
        seeds = np.full(len(chosen), REAL_SEED, np.uint64)
        samples = Samples(self.examples.x[chosen], seeds, draws=zeros, redrawn=zeros)
        certain = F.one_hot(y, self.config.task.n_classes) if self.config.pool.soft_labels else None
        batch = as_batch(slice(0, len(chosen)), y, zeros.astype(np.float32), samples, self.storage, certain)
        return DrawnRound(assessed(batch, self.storage, learner), DrawCounts(), total_guidance)

    def forget(self) -> None:
        """Do nothing: nothing was kept."""


@dataclass(frozen=True)
class RealStart:
    """A Source whose initial round begins with real examples. The rest of it, and all other rounds, are generated."""

    real: RealRounds
    generated: GeneratedRounds

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """See Source."""
        count = 0 if index else self.real.config.practice.real_examples
        if not count:
            return self.generated.draw(index, labels, learner, total_guidance)
        real = self.real.draw(index, labels[:count], learner, total_guidance)
        if count == len(labels):
            return real
        generated = self.generated.draw(index, labels[count:], learner, total_guidance)
        behind = replace(generated.batch, row=generated.batch.row + count)
        return generated._replace(batch=Batch.concatenate([real.batch, behind]))

    def forget(self) -> None:
        """Delete what was kept of generated examples."""
        self.generated.forget()
