"""Sources: they draw the rounds of a run.

A round flows one way: a policy says which rows to draw → a generator draws them in blocks → the learner assesses them →
a batch of columns goes into the pool. The steering (the automatic strength) and the costs are returned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.evaluation.assess import assess
from dp_real.guidance.controls import RandomGuidance
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.pool import Batch
from dp_real.pool.batch import POSTERIOR
from dp_real.pool.storage import Storage
from dp_real.protocols import Generator, Learner, LikelihoodGenerator
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.choice import choose
from dp_real.rounds.costs import Costs, SampleFlops
from dp_real.rounds.policies import Request, policy_of
from dp_real.rounds.redraw import draw_sound
from dp_real.rounds.shared import Shared
from dp_real.rounds.steering import Steering


class Drawn(NamedTuple):
    """A round: this process's rows, what they cost this process, and the steering of the next round.

    saved: seconds that it would have taken more, had not others or a stopped run drawn some of its rows.
    """

    batch: Batch
    costs: Costs
    steering: Steering
    saved: float = 0.0


class Source(Protocol):
    """Draws the rounds of a run."""

    def draw(self, index: int, labels: Tensor, learner: Learner, steering: Steering) -> Drawn:
        """Draw round `index`, of classes `labels`, int64 [n]. Raises Interrupted if it is told to stop."""
        ...

    def forget(self) -> None:
        """Delete what was kept for resuming the round, which is now in the pool."""
        ...


class Sampled(NamedTuple):
    """Samples x [B, *sample_shape], and of each its seed, uint64, how often it was drawn, and how often for no use."""

    x: Tensor
    seeds: np.ndarray
    draws: np.ndarray
    redrawn: np.ndarray


def as_batch(
    rows: slice, labels: Tensor, omega: np.ndarray, sampled: Sampled, storage: Storage, posterior: Tensor | None = None
) -> Batch:
    """Encode samples for the pool. Nobody has assessed them yet: their entropies are nan.

    posterior: the classes' probabilities [B, K], for soft labels.
    """
    unknown, nobody = np.full(len(labels), np.nan, np.float32), np.zeros(len(labels), bool)
    return Batch(
        row=np.arange(rows.start, rows.stop),
        label=labels.numpy(),
        seed=sampled.seeds,
        omega=omega,
        entropy=unknown,
        correct=nobody,
        example=storage.encode(sampled.x),
        draws=sampled.draws,
        redrawn=sampled.redrawn,
        seconds=np.zeros(len(labels)),
        posterior=None if posterior is None else pa.array(list(posterior.float().numpy()), POSTERIOR),
    )


def assessed(batch: Batch, storage: Storage, learner: Learner) -> Batch:
    """Have the learner assess a batch. It sees what the pool keeps, which may be bytes or a JPEG."""
    x, labels = storage.decode(batch.table()["example"].combine_chunks()), torch.tensor(batch.label)
    entropy, correct = assess(learner, x, labels)
    return replace(batch, entropy=entropy.numpy(), correct=correct.numpy())


def timed(make: Callable[[], Batch]) -> Batch:
    """The batch that `make` returns, with the time that this took added to its rows' seconds."""
    begin = time.monotonic()
    batch = make()
    return replace(batch, seconds=batch.seconds + (time.monotonic() - begin) / max(1, len(batch)))


@dataclass
class GeneratedRounds:
    """A Source that draws a generator's samples as a configuration asks.

    storage: that of the pool. shared: what other runs draw alike.
    """

    config: Config
    generator: Generator
    storage: Storage
    blocks: Blocks
    flops: SampleFlops = field(default_factory=SampleFlops)
    shared: Shared | None = None

    def draw(self, index: int, labels: Tensor, learner: Learner, steering: Steering) -> Drawn:
        """See Source. The initial round, 0, is plain."""
        policy = policy_of(self.config, index)
        parts, saved = [Batch.empty(self.storage.type, self.storage.config.soft_labels)], 0.0
        for rows in policy.portions(len(policy.request(labels, steering).labels)):
            request = policy.request(labels, steering)
            draw = partial(self.block, request, learner)
            own = self.blocks.draw(index, rows, draw)
            portion = Batch.concatenate([parts[0], *own.batches])
            saved += own.saved
            steering = policy.steer(steering, portion, rows.stop - rows.start)
            parts.append(portion)
        drawn = Batch.concatenate(parts)
        costs = policy.price(self.flops) * int(drawn.draws.sum()) + Costs(redrawn=int(drawn.redrawn.sum()))
        costs += Costs(flops=self.flops.of_labels()) * len(drawn)
        self.generator.rest()
        return Drawn(policy.keep(drawn, labels), costs, steering, saved)

    def forget(self) -> None:
        """Delete the blocks on disk."""
        self.blocks.forget()

    def block(self, request: Request, learner: Learner, rows: slice) -> Batch:
        """Draw and assess these rows of a request. Raises DivergedError as draw_sound does, and keeps none of them."""

        def draw() -> Batch:
            return timed(lambda: self.drawn(request, learner, rows))

        shared = self.shared if request.index == 0 else None  # the initial round is plain in every arm
        batch = shared.block(request, rows, self.config.seed, draw) if shared else draw()
        return timed(lambda: assessed(batch, self.storage, learner))

    def drawn(self, request: Request, learner: Learner, rows: slice) -> Batch:
        """Draw these rows of a request, for whoever assesses them."""
        labels, seeds = request.labels[rows], request.seeds(self.config.seed, rows)
        omega = np.zeros(len(labels), np.float32) if request.omega is None else request.omega[rows]
        what = f"round {request.index}"
        if request.candidates > 1:
            sampled = self.chosen(learner, labels, seeds, omega, what)
        elif request.omega is None:
            sampled = self.plain(labels, seeds[0], what)
        else:
            sampled = self.guided(learner, labels, seeds[0], omega, what)
        return as_batch(rows, labels, omega, sampled, self.storage, self.posterior(sampled.x))

    def posterior(self, x: Tensor) -> Tensor | None:
        """The generator's probabilities of the classes of samples x, [B, K], with soft labels."""
        if not self.storage.config.soft_labels:
            return None
        return cast(LikelihoodGenerator, self.generator).log_posterior(x).exp()

    def plain(self, labels: Tensor, seeds: np.ndarray, what: str) -> Sampled:
        """Draw plain samples. what: begins an error, see draw_sound."""
        x, kept, redrawn = draw_sound(
            lambda row, again: self.generator.sample(labels[row], again, None),
            seeds,
            what,
            self.config.tamer(guided=False),
        )
        return Sampled(x, kept, 1 + redrawn, redrawn)

    def chosen(
        self, learner: Learner, labels: Tensor, seeds: Sequence[np.ndarray], omega: np.ndarray, what: str
    ) -> Sampled:
        """Draw a plain candidate from each of `seeds`, uint64 [B] each, and choose one for each row.

        The learner sees them as the pool would keep them. What was drawn in vain counts as drawn.
        """
        drawn = [self.plain(labels, each, what) for each in seeds]
        seen = [self.storage.decode(self.storage.encode(candidate.x)) for candidate in drawn]
        hardness = np.stack([self.score(learner, x, labels).numpy() for x in seen], axis=1)
        x, kept, draws, redrawn = zip(*drawn, strict=True)
        best, row = choose(hardness, omega, np.stack(kept, axis=1)), np.arange(len(labels))
        return Sampled(torch.stack(x)[best, row], np.stack(kept)[best, row], np.sum(draws, 0), np.sum(redrawn, 0))

    def score(self, learner: Learner, x: Tensor, labels: Tensor) -> Tensor:
        """What candidates are chosen by, float64 [B]: the learner's entropy in nats, less the generator's doubt.

        Entropy alone also finds samples whose label is ambiguous, or wrong.
        """
        hardness, doubt = assess(learner, x, labels)[0].double(), self.config.guidance.doubt
        if not doubt:
            return hardness
        log_posterior = cast(LikelihoodGenerator, self.generator).log_posterior(x)
        return hardness + doubt * log_posterior.gather(1, labels.unsqueeze(1)).squeeze(1)

    def guided(
        self, learner: Learner, labels: Tensor, seeds: np.ndarray, omega: np.ndarray, what: str = "samples"
    ) -> Sampled:
        """Draw guided samples. what: begins an error, see draw_sound."""
        x, kept, redrawn = draw_sound(
            lambda row, again: self.pushed(learner, labels[row], again, omega[row]),
            seeds,
            what,
            self.config.tamer(guided=True),
        )
        return Sampled(x, kept, 1 + redrawn, redrawn)

    def pushed(self, learner: Learner, labels: Tensor, seeds: np.ndarray, omega: np.ndarray) -> Tensor:
        """Draw guided samples, or those of a control."""
        options = self.config.guidance
        guidance = EntropyGuidance.of(options, learner.logits, torch.from_numpy(omega))
        if options.control == "random-direction":
            guidance = RandomGuidance(**vars(replace(guidance, through="x0")), seeds=seeds)  # no gradient is needed
        return self.generator.sample(labels, seeds, guidance)
