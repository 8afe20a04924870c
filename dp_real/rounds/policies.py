"""Policies: whether the samples of a round are plain, pruned, guided, or chosen among candidates.

A policy decides which rows are drawn, at what strength, and which of them are kept. It draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.pool import Batch
from dp_real.rounds.steering import TOTAL_RANGE, steer
from dp_real.runtime import processes
from dp_real.runtime.seeds import row_seeds

FIRST_PARTS = 8  # parts of the first guided round, between which an automatic strength finds its place
LEAST_ROWS = 20  # of such a part
CHOICE_STRENGTH = 25.0  # an automatic strength of choosing, per nat, at a total guidance of 1
END_TOLERANCE = 1.001  # a strength within this factor of an end of its range counts as being there

PolicyName = Literal["plain", "pruned", "chosen", "guided"]


@dataclass(frozen=True)
class Request:
    """The n rows to draw for a round."""

    index: int  # of the round
    labels: Tensor  # int64 [n]
    omega: np.ndarray | None = None  # float32 [n], the strength for each row; None: the rows are plain
    candidates: int = 1  # plain samples among which a row is chosen

    def seeds(self, seed: int, rows: slice) -> list[np.ndarray]:
        """Seeds uint64 [B] of these rows, for each candidate.

        The candidates of row i have the seeds of the rows i, i + n, i + 2n, … of the round.
        """
        n = len(self.labels)
        candidates = [range(first + rows.start, first + rows.stop) for first in range(0, n * self.candidates, n)]
        return [row_seeds(seed, self.index, positions) for positions in candidates]


@dataclass(frozen=True)
class PlainPolicy:
    """Draws the plain samples that are asked for, and keeps all. The base of all policies."""

    config: Config
    index: int  # of the round

    def request(self, labels: Tensor, total_guidance: float) -> Request:
        """The rows to draw for a round of classes `labels`, int64 [n], and their strength at this total guidance."""
        return Request(self.index, labels)

    def portions(self, n: int) -> Iterator[slice]:
        """The n rows of the request in consecutive parts. The total guidance may change between them."""
        yield slice(0, n)

    def steer(self, total_guidance: float, drawn: Batch, size: int) -> float:
        """The total guidance after a portion of `size` rows, of which this process drew `drawn`.

        All processes call it.
        """
        return total_guidance

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """This process's rows of the round, with `row` counting within the round. All processes call it."""
        return drawn


@dataclass(frozen=True)
class PrunedPolicy(PlainPolicy):
    """Draws `practice.oversample` times as many plain samples, and keeps those of each class that are hardest."""

    def request(self, labels: Tensor, total_guidance: float) -> Request:
        """`practice.oversample` plain rows for each label."""
        return Request(self.index, labels.repeat(self.config.practice.oversample))

    def keep(self, drawn: Batch, labels: Tensor) -> Batch:
        """The hardest rows for the learner, as many of each class as in `labels`; of equally hard rows the first."""
        mine = zip(drawn.entropy.tolist(), drawn.label.tolist(), drawn.row.tolist(), strict=True)
        everybodys = torch.tensor(processes.gather(list(mine)), dtype=torch.float64)
        hardest_first = everybodys[everybodys[:, 0].argsort(descending=True, stable=True)]
        counts = labels.bincount(minlength=self.config.task.n_classes).tolist()
        of_classes = [hardest_first[hardest_first[:, 1] == label][:count, 2] for label, count in enumerate(counts)]
        kept = torch.cat(of_classes).sort().values.long().numpy()
        return drawn.among(kept)


@dataclass(frozen=True)
class SteeredPolicy(PlainPolicy):
    """Base of the policies that draw what the learner finds hard, at a strength omega.

    An automatic strength (guidance.omega = "auto") follows from the total guidance. It changes after each round, and
    within the first guided round after each portion. So the rows do not depend on how blocks or processes share them.
    """

    def omega_at(self, total_guidance: float) -> float:
        """The automatic strength at this total guidance."""
        raise NotImplementedError

    def request(self, labels: Tensor, total_guidance: float) -> Request:
        """A row for each label, all of the same strength."""
        asked = self.config.guidance.omega
        omega = self.omega_at(total_guidance) if asked == "auto" else asked
        return Request(self.index, labels, np.full(len(labels), omega, np.float32), self.config.guidance.candidates)

    def portions(self, n: int) -> Iterator[slice]:
        """The rows between two changes of the strength."""
        seeks_its_place = self.config.guidance.omega == "auto" and self.index == 1
        size = max(LEAST_ROWS, -(-n // FIRST_PARTS)) if seeks_its_place else n
        return processes.slices(slice(0, n), size)

    def steer(self, total_guidance: float, drawn: Batch, size: int) -> float:
        """More guidance if the learner gets less than `guidance.wrong_share` of the portion wrong, else less."""
        if self.config.guidance.omega != "auto":
            return total_guidance
        wrong = sum(processes.gather([int((~drawn.correct).sum())]))
        return steer(total_guidance, wrong / size, self.config.guidance.wrong_share)


@dataclass(frozen=True)
class GuidedPolicy(SteeredPolicy):
    """Guides the sampler. An automatic omega is the total guidance over the number of guided steps."""

    def omega_at(self, total_guidance: float) -> float:
        """See SteeredPolicy."""
        return total_guidance / len(self.config.guided_steps)


@dataclass(frozen=True)
class ChosenPolicy(SteeredPolicy):
    """Draws `guidance.candidates` plain samples for a row, and keeps one (dp_real.rounds.choice). Needs no gradient.

    An automatic omega is CHOICE_STRENGTH times the total guidance: .5 to 40 per nat, and 5 at first. With omega = 0 the
    choice is random, which is the control of equal cost.
    """

    def omega_at(self, total_guidance: float) -> float:
        """See SteeredPolicy."""
        return CHOICE_STRENGTH * total_guidance


POLICIES: dict[PolicyName, type[PlainPolicy]] = {
    "plain": PlainPolicy,
    "pruned": PrunedPolicy,
    "chosen": ChosenPolicy,
    "guided": GuidedPolicy,
}


def policy_name(config: Config, index: int) -> PolicyName:
    """The name of the policy of round `index`. The initial round, 0, is plain."""
    if index and config.practice.oversample > 1:
        return "pruned"
    if index and config.guidance.candidates > 1:
        return "chosen"
    if index and config.guidance.omega:
        return "guided"
    return "plain"


def policy_of(config: Config, index: int) -> PlainPolicy:
    """The policy of round `index`."""
    return POLICIES[policy_name(config, index)](config, index)


def end_of_range(config: Config, omega: float) -> Literal["lowest", "highest"] | None:
    """At which end of its range an automatic strength is. omega: of the last rows.

    None if it is at neither, and for a strength that is fixed.
    """
    policy = policy_of(config, 1)
    if not isinstance(policy, SteeredPolicy) or config.guidance.omega != "auto":
        return None
    lowest, highest = map(policy.omega_at, TOTAL_RANGE)
    if omega <= lowest * END_TOLERANCE:
        return "lowest"
    return "highest" if omega >= highest / END_TOLERANCE else None
