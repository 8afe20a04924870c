"""Sources: they draw the rounds of a run.

A round flows one way. A policy says which rows to draw. A generator draws them in blocks. The learner assesses them. A
batch of columns goes into the pool.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dp_real.evaluation.assess import assess
from dp_real.pool import Batch
from dp_real.pool.storages import Storage
from dp_real.protocols import Learner
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.drawing_costs import DrawCounts
from dp_real.rounds.policies import Request, policy_of
from dp_real.rounds.samples import SampleDrawer
from dp_real.rounds.shared import Shared


class DrawnRound(NamedTuple):
    """A round as one process drew it."""

    batch: Batch  # this process's rows
    counts: DrawCounts  # what this process drew for them
    total_guidance: float  # of the next round
    saved: float = 0.0  # seconds that it would have taken more, had not others or a stopped run drawn some of its rows


class Source(Protocol):
    """Draws the rounds of a run."""

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """Draw round `index`, of classes `labels`, int64 [n]. All processes call it.

        total_guidance: that of the round's first rows. Raises Interrupted if the source is told to stop.
        """
        ...

    def forget(self) -> None:
        """Delete what was kept for resuming the round, which is now in the pool."""
        ...


@dataclass(frozen=True)
class GeneratedRounds:
    """A Source that draws a generator's samples as a configuration asks. shared: what other runs draw alike."""

    drawer: SampleDrawer
    blocks: Blocks
    shared: Shared | None = None

    def draw(self, index: int, labels: Tensor, learner: Learner, total_guidance: float) -> DrawnRound:
        """See Source. The initial round, 0, is plain."""
        policy = policy_of(self.drawer.config, index)
        n = len(policy.request(labels, total_guidance).labels)
        storage = self.drawer.storage
        nothing = Batch.empty(storage.type, storage.config.soft_labels)
        portions: list[Batch] = []
        saved = 0.0
        for rows in policy.portions(n):
            request = policy.request(labels, total_guidance)
            own = self.blocks.draw(index, rows, partial(self.draw_assessed, request, learner))
            portion = Batch.concatenate([nothing, *own.batches])
            portions.append(portion)
            saved += own.saved
            total_guidance = policy.steer(total_guidance, portion, rows.stop - rows.start)
        drawn = Batch.concatenate([nothing, *portions])
        self.drawer.generator.offload()
        counts = DrawCounts(len(drawn), int(drawn.draws.sum()), int(drawn.redrawn.sum()))
        return DrawnRound(policy.keep(drawn, labels), counts, total_guidance, saved)

    def forget(self) -> None:
        """Delete the blocks on disk."""
        self.blocks.forget()

    def draw_assessed(self, request: Request, learner: Learner, rows: slice) -> Batch:
        """Draw and assess these rows of a request. Raises DivergedError as draw_sound does, and keeps none of them."""

        def draw() -> Batch:
            return timed(lambda: self.drawer.draw_block(request, learner, rows))

        if self.shared and request.index == 0:  # the initial round is plain in every arm
            batch = self.shared.block(request, rows, self.drawer.config.seed, draw)
        else:
            batch = draw()
        return timed(lambda: assessed(batch, self.drawer.storage, learner))


def assessed(batch: Batch, storage: Storage, learner: Learner) -> Batch:
    """The batch as the learner assesses it. The learner sees what the pool keeps, which may be bytes or a JPEG."""
    x = storage.decode(batch.table()["example"].combine_chunks())
    entropy, correct = assess(learner, x, torch.tensor(batch.label))
    return replace(batch, entropy=entropy.numpy(), correct=correct.numpy())


def timed(make: Callable[[], Batch]) -> Batch:
    """The batch that `make` returns, with the time that this took added to its rows' seconds."""
    begin = time.monotonic()
    batch = make()
    return replace(batch, seconds=batch.seconds + (time.monotonic() - begin) / max(1, len(batch)))
