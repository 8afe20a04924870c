"""Policies: whether a round is plain, pruned (the hardest of more plain rows are kept), guided, or chosen row by row.

A policy decides which labels are drawn, at what strength, and which rows are kept. It draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.pool import Batch
from dp_real.rounds.costs import Costs, SampleFlops, guided_sample, plain_sample
from dp_real.rounds.steering import PUSH_RANGE, Steering, steer
from dp_real.runtime import processes
from dp_real.runtime.seeds import row_seeds

# The first guided round has this many parts, and parts of so many rows at least: an automatic strength finds its place.
FIRST_PARTS, FIRST_ROWS = 8, 20
CHOICE = 25.0  # an automatic strength of choosing, per nat, for a push of 1


@dataclass(frozen=True)
class Request:
    """The n rows to draw for a round.

    labels: int64 [n]. omega: float32 [n], the strength for each row; None: plain. candidates: if more than 1, how many
    plain samples a row is chosen from.
    """

    index: int  # of the round
    labels: Tensor
    omega: np.ndarray | None = None
    candidates: int = 1

    def seeds(self, seed: int, rows: slice) -> list[np.ndarray]:
        """Seeds uint64 [B] of these rows for each candidate. Those of row i are rows i, i + n, … of a round."""
        n = len(self.labels)
        firsts = range(0, n * self.candidates, n)
        return [row_seeds(seed, self.index, range(first + rows.start, first + rows.stop)) for first in firsts]


class Policy(Protocol):
    """Decides what one round draws and keeps."""

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """The rows to draw for a round of classes `labels`, int64 [n], and their strength under this steering."""
        ...

    def portions(self, n: int) -> Iterator[slice]:
        """The n rows of the request in consecutive parts. The steering may change between them."""
        ...

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """The steering after a portion of `size` rows, of which this process drew `drawn`. All processes call it."""
        ...

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """This process's rows of the round, with `row` counting within the round. All processes call it."""
        ...

    def price(self, flops: SampleFlops) -> Costs:
        """The costs of drawing one sample."""
        ...


@dataclass(frozen=True)
class Plain:
    """Draws the plain samples that are asked for, and keeps all."""

    config: Config
    index: int  # of the round

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """One plain row for each label."""
        return Request(self.index, labels)

    def portions(self, n: int) -> Iterator[slice]:
        """All rows at once."""
        yield slice(0, n)

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """The steering, unchanged."""
        return steering

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """All rows."""
        return drawn

    def price(self, flops: SampleFlops) -> Costs:
        """The costs of a plain sample."""
        return plain_sample(self.config.sampling.forwards if self.config.generator.denoises else 0, flops)


@dataclass(frozen=True)
class Pruned(Plain):
    """Draws `practice.oversample` times as many plain samples, and keeps those of each class that are hardest."""

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """`practice.oversample` plain rows for each label."""
        return Request(self.index, labels.repeat(self.config.practice.oversample))

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """The hardest rows for the learner, as many of each class as in `labels`; of equally hard rows the first."""
        mine = zip(drawn.entropy.tolist(), drawn.label.tolist(), drawn.row.tolist(), strict=True)
        everybodys = torch.tensor(processes.gather(list(mine)), dtype=torch.float64)
        hardest = everybodys[everybodys[:, 0].argsort(descending=True, stable=True)]
        counts = labels.bincount(minlength=self.config.task.n_classes).tolist()
        kept = torch.cat([hardest[hardest[:, 1] == label][:count, 2] for label, count in enumerate(counts)])
        kept = kept.sort().values.long().numpy()
        chosen = drawn.select(np.isin(drawn.row, kept))
        return replace(chosen, row=kept.searchsorted(chosen.row))


@dataclass(frozen=True)
class Guided(Plain):
    """Draws samples that the learner finds hard.

    With omega = "auto" the strength is steering.push over the number of guided steps. It changes after each round, and
    within the first guided one, so that the rows do not depend on how batches or processes share them.
    """

    def automatic(self, push: float) -> float:
        """omega = "auto" at this push."""
        return push / len(self.config.guidance.guided_steps(self.config.sampling.steps))

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """All rows have the same strength."""
        options = self.config.guidance
        omega = self.automatic(steering.push) if options.omega == "auto" else options.omega
        return Request(self.index, labels, np.full(len(labels), omega, np.float32))

    def portions(self, n: int) -> Iterator[slice]:
        """The rows between two changes of the strength."""
        seeks = self.config.guidance.omega == "auto" and self.index == 1
        return processes.slices(slice(0, n), max(FIRST_ROWS, -(-n // FIRST_PARTS)) if seeks else n)

    def steer(self, steering: Steering, drawn: Batch, size: int) -> Steering:
        """A stronger push if the learner gets less than `guidance.wrong_share` of the portion wrong, else a weaker."""
        if self.config.guidance.omega != "auto":
            return steering
        wrong = sum(processes.gather([int((~drawn.correct).sum())]))
        return steering._replace(push=steer(steering.push, wrong / size, self.config.guidance.wrong_share))

    def price(self, flops: SampleFlops) -> Costs:
        """The costs of a guided sample."""
        return guided_sample(self.config.sampling, self.config.guidance, flops)


@dataclass(frozen=True)
class Chosen(Guided):
    """Draws `guidance.candidates` plain samples a row, and keeps one (dp_real.rounds.choice). Needs no gradient.

    With omega = "auto" the strength is CHOICE times steering.push: .5 to 40 per nat, from 5. With omega = 0 the choice
    is random, which is the control of equal cost.
    """

    def automatic(self, push: float) -> float:
        """omega = "auto" at this push."""
        return CHOICE * push

    def request(self, labels: Tensor, steering: Steering) -> Request:
        """All rows have the same strength."""
        options = self.config.guidance
        omega = self.automatic(steering.push) if options.omega == "auto" else options.omega
        strength = np.full(len(labels), omega, np.float32)
        return Request(self.index, labels, strength, candidates=options.candidates)

    def price(self, flops: SampleFlops) -> Costs:
        """The costs of a candidate, with those of the learner and the generator that look at it."""
        return replace(Plain.price(self, flops), flops=flops(True))


def policy_of(config: Config, index: int) -> Policy:
    """The policy of round `index`. The initial round, 0, is plain."""
    if index and config.practice.oversample > 1:
        return Pruned(config, index)
    if index and config.guidance.candidates > 1:
        return Chosen(config, index)
    if index and config.guidance.omega:
        return Guided(config, index)
    return Plain(config, index)


def end_of_range(config: Config, omega: float) -> Literal["lowest", "highest"] | None:
    """At which end of its range an automatic strength is, given omega of the last rows; None if at neither.

    None, too, for a strength that is fixed.
    """
    policy = policy_of(config, 1)
    if not isinstance(policy, Guided) or config.guidance.omega != "auto":
        return None
    lowest, highest = map(policy.automatic, PUSH_RANGE)
    return "lowest" if omega <= lowest * 1.001 else "highest" if omega >= highest / 1.001 else None
