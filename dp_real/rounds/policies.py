"""What a round draws and keeps: plain rows, plain rows of which the hardest are kept, or guided ones.

A policy says who is drawn, and how hard they are pushed; it draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.pool import Batch
from dp_real.rounds.costs import Costs, SampleFlops, guided_sample, plain_sample
from dp_real.rounds.steering import Steering, steer
from dp_real.runtime import processes
from dp_real.runtime.seeds import Stream, rng, row_seeds

REFILLS = 3  # how often a sample that fails the label check is drawn again


@dataclass(frozen=True)
class Request:
    """The n rows of a round that are to be drawn.

    labels: int64 [n]. omega: float32 [n], how hard each is pushed; None: they are plain. tries: how often a row may be
    drawn until its label is credible.
    """

    index: int  # of the round
    labels: Tensor
    omega: np.ndarray | None = None
    tries: int = 1

    def seeds(self, seed: int, rows: slice) -> list[np.ndarray]:
        """uint64 [B] of these rows for each try: row i is drawn again as rows i + n, i + 2n, … of the round."""
        n = len(self.labels)
        firsts = range(0, n * self.tries, n)
        return [row_seeds(seed, self.index, range(first + rows.start, first + rows.stop)) for first in firsts]


class Policy(Protocol):
    """How one round comes about."""

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """Who is drawn for a round that wants the classes int64 `labels`, and how hard they are pushed by now."""
        ...

    def portions(self, n: int) -> Iterator[slice]:
        """The n rows of the request in consecutive parts; the steering may move between them."""
        ...

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """The steering after a portion of that size, of which this process drew `drawn`; all processes call it."""
        ...

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """This process's rows of the round, numbered within it; all processes call it."""
        ...

    def price(self, flops: SampleFlops) -> Costs:
        """Of drawing one sample."""
        ...


@dataclass(frozen=True)
class Plain:
    """As many plain samples as are wanted."""

    config: Config
    index: int  # of the round

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """These."""
        return Request(self.index, labels)

    def portions(self, n: int) -> Iterator[slice]:
        """All at once."""
        yield slice(0, n)

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """As it was."""
        return steering

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """All."""
        return drawn

    def price(self, flops: SampleFlops) -> Costs:
        """Of a plain sample."""
        return plain_sample(self.config.sampling, flops)


@dataclass(frozen=True)
class Pruned(Plain):
    """`practice.oversample` times as many plain samples; of each class those that the selector finds hardest stay."""

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """Each class so many times."""
        return Request(self.index, labels.repeat(self.config.practice.oversample))

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """Of each class as many as `labels` wants; of equally hard rows the first."""
        mine = zip(drawn.hardness.tolist(), drawn.label.tolist(), drawn.row.tolist(), strict=True)
        everybodys = torch.tensor(processes.gather(list(mine)), dtype=torch.float64)
        hardest = everybodys[everybodys[:, 0].argsort(descending=True, stable=True)]
        counts = labels.bincount(minlength=self.config.task.n_classes).tolist()
        kept = torch.cat([hardest[hardest[:, 1] == label][:count, 2] for label, count in enumerate(counts)])
        kept = kept.sort().values.long().numpy()
        chosen = drawn.select(np.isin(drawn.row, kept))
        return replace(chosen, row=kept.searchsorted(chosen.row))


@dataclass(frozen=True)
class Guided(Plain):
    """Samples that the selector finds hard.

    Under omega = "auto" the strength is steering.push over the number of guided steps, and moves after every
    `guidance.steer_every` rows, a number that belongs to the configuration: the rows do not depend on how they were
    spread over batches or processes. Nor do they with a label check, where a sample that fails is drawn again.
    """

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """The strength is the same for all rows, or uniform below that."""
        options, config, n = self.config.guidance, self.config, len(labels)
        shares = rng(config.seed, Stream.OMEGA, self.index).random(n, np.float32) if options.spread else np.float32(1)
        guided_steps = len(options.guided_steps(config.sampling.steps))
        omega = steering.push / guided_steps if options.omega == "auto" else options.omega
        tries = 1 if options.check == "none" else 1 + REFILLS
        return Request(self.index, labels, np.broadcast_to(shares, n) * omega, tries)

    def portions(self, n: int) -> Iterator[slice]:
        """What is drawn between two moves of the strength."""
        return processes.slices(slice(0, n), self.config.guidance.steer_every or n)

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """Harder if the selector gets less than `guidance.wrong_share` of the portion wrong."""
        if self.config.guidance.omega != "auto":
            return steering
        missed = sum(processes.gather([int(drawn.missed.sum())]))
        return steering._replace(push=steer(steering.push, missed / size, self.config.guidance.wrong_share))

    def price(self, flops: SampleFlops) -> Costs:
        """Of a guided sample."""
        return guided_sample(self.config.sampling, self.config.guidance, flops)


def policy_of(config: Config, index: int) -> Policy:
    """How round `index` comes about; the initial one, 0, is plain."""
    if index and config.practice.oversample > 1:
        return Pruned(config, index)
    if index and config.guidance.omega:
        return Guided(config, index)
    return Plain(config, index)
