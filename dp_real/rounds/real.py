"""Sources of real examples: a pool of them alone, and one that begins with them and goes on with generated ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dp_real.config import Config
from dp_real.examples import TrainingExamples, balanced_rows
from dp_real.pool import Batch
from dp_real.pool.storage import Storage
from dp_real.protocols import Learner
from dp_real.rounds.costs import Costs
from dp_real.rounds.source import Drawn, GeneratedRounds, Sampled, as_batch, assessed
from dp_real.rounds.steering import Steering
from dp_real.runtime import processes


@dataclass(frozen=True)
class RealRounds:
    """A Source of real training examples alone, to compare generated ones with. One round only, which costs nothing.

    There must be as many as it asks for (dp_real.runs.prepare.check_real_examples). Runs on one
    data split take the same ones.
    """

    config: Config
    examples: TrainingExamples | None
    storage: Storage

    def draw(self, index: int, labels: Tensor, learner: Learner, steering: Steering) -> Drawn:
        """As many examples as there are labels, whose values do not matter; see balanced_rows."""
        assert self.examples is not None, "their number was checked"
        chosen = torch.from_numpy(balanced_rows(self.examples.y.numpy(), len(labels), self.config.data.split))
        here = slice(0, len(chosen) if processes.this_process().is_main_process else 0)
        nothing = np.zeros(len(chosen[here]), np.int64)
        sampled = Sampled(self.examples.x[chosen][here], nothing.astype(np.uint64), draws=nothing, redrawn=nothing)
        rows, y, omega = slice(0, len(nothing)), self.examples.y[chosen][here], nothing.astype(np.float32)
        known = F.one_hot(y, self.config.task.n_classes) if self.storage.config.soft_labels else None
        batch = as_batch(rows, y, omega, sampled, self.storage, known)
        return Drawn(assessed(batch, self.storage, learner), Costs(), steering)

    def forget(self) -> None:
        """Do nothing: nothing was kept."""


@dataclass(frozen=True)
class RealStart:
    """A Source whose initial round begins with real examples. The rest of it, and all other rounds, are generated."""

    real: RealRounds
    generated: GeneratedRounds

    def draw(self, index: int, labels: Tensor, learner: Learner, steering: Steering) -> Drawn:
        """See Source."""
        count = 0 if index else self.real.config.practice.real_examples
        if not count:
            return self.generated.draw(index, labels, learner, steering)
        real = self.real.draw(index, labels[:count], learner, steering)
        if count == len(labels):
            return real
        rest = self.generated.draw(index, labels[count:], learner, steering)
        after = replace(rest.batch, row=rest.batch.row + count)
        return rest._replace(batch=Batch.concatenate([real.batch, after]))

    def forget(self) -> None:
        """Delete what was kept of generated examples."""
        self.generated.forget()
