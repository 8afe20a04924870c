"""Draws samples for rows: plain ones, guided ones, or the chosen ones of several candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

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
from dp_real.pool.storages import Storage
from dp_real.protocols import Generator, Learner, LikelihoodGenerator
from dp_real.rounds.choice import choose
from dp_real.rounds.policies import Request
from dp_real.rounds.redraw import draw_sound


class Samples(NamedTuple):
    """Samples for B rows."""

    x: Tensor  # [B, *sample_shape]
    seeds: np.ndarray  # uint64 [B], from which each can be drawn again
    draws: np.ndarray  # int64 [B], how many samples were generated for the row
    redrawn: np.ndarray  # int64 [B], how many of them replaced one of no use


@dataclass(frozen=True)
class SampleDrawer:
    """Draws samples from a generator as a configuration asks. storage: that of the pool."""

    config: Config
    generator: Generator
    storage: Storage

    def draw_block(self, request: Request, learner: Learner, rows: slice) -> Batch:
        """Draw these rows of a request. Nobody has assessed them yet. Raises DivergedError as draw_sound does."""
        labels = request.labels[rows]
        seeds = request.seeds(self.config.seed, rows)
        what = f"round {request.index}"
        if request.omega is None:
            omega = np.zeros(len(labels), np.float32)
            samples = self.sample_plain(labels, seeds[0], what)
        elif request.candidates > 1:
            omega = request.omega[rows]
            samples = self.sample_chosen(learner, labels, seeds, omega, what)
        else:
            omega = request.omega[rows]
            samples = self.sample_guided(learner, labels, seeds[0], omega, what)
        posterior = self.posterior(samples.x) if self.config.pool.soft_labels else None
        return as_batch(rows, labels, omega, samples, self.storage, posterior)

    def sample_plain(self, labels: Tensor, seeds: np.ndarray, what: str = "samples") -> Samples:
        """Draw plain samples for labels int64 [B] and seeds uint64 [B]. what: begins an error, see draw_sound."""

        def draw(rows: np.ndarray, seeds: np.ndarray) -> Tensor:
            return self.generator.sample(labels[rows], seeds, None)

        x, used, redrawn = draw_sound(draw, seeds, what, self.config.sample_remedy(guided=False))
        return Samples(x, used, 1 + redrawn, redrawn)

    def sample_guided(
        self, learner: Learner, labels: Tensor, seeds: np.ndarray, omega: np.ndarray, what: str = "samples"
    ) -> Samples:
        """Draw samples guided by the learner at strengths omega, float32 [B], or those of the control."""
        options = self.config.guidance

        def draw(rows: np.ndarray, seeds: np.ndarray) -> Tensor:
            strength = torch.from_numpy(omega[rows])
            if options.control == "random-direction":
                guidance = RandomGuidance.of_seeds(options, learner.logits, strength, seeds)
            else:
                guidance = EntropyGuidance.of(options, learner.logits, strength)
            return self.generator.sample(labels[rows], seeds, guidance)

        x, used, redrawn = draw_sound(draw, seeds, what, self.config.sample_remedy(guided=True))
        return Samples(x, used, 1 + redrawn, redrawn)

    def sample_chosen(
        self,
        learner: Learner,
        labels: Tensor,
        seeds: Sequence[np.ndarray],
        omega: np.ndarray,
        what: str = "samples",
    ) -> Samples:
        """Draw a plain candidate from each of `seeds`, uint64 [B] each, and choose one for each row.

        The learner sees the candidates as the pool would keep them. Those that are not chosen count as generated.
        """
        candidates = [self.sample_plain(labels, each, what) for each in seeds]
        seen = [self.storage.decode(self.storage.encode(candidate.x)) for candidate in candidates]
        hardness = np.stack([self.score(learner, x, labels).numpy() for x in seen], axis=1)
        used = np.stack([candidate.seeds for candidate in candidates], axis=1)
        best = choose(hardness, omega, used)
        row = np.arange(len(labels))
        return Samples(
            x=torch.stack([candidate.x for candidate in candidates])[best, row],
            seeds=used[row, best],
            draws=np.sum([candidate.draws for candidate in candidates], axis=0),
            redrawn=np.sum([candidate.redrawn for candidate in candidates], axis=0),
        )

    def score(self, learner: Learner, x: Tensor, labels: Tensor) -> Tensor:
        """What candidates are chosen by, float64 [B]: the learner's entropy in nats.

        Entropy alone also finds samples whose label is ambiguous or wrong. So guidance.likelihood_weight adds so many
        times the generator's log p(label | sample).
        """
        entropy, _ = assess(learner, x, labels)
        weight = self.config.guidance.likelihood_weight
        if weight == 0:
            return entropy.double()
        log_posterior = cast(LikelihoodGenerator, self.generator).log_posterior(x)
        return entropy.double() + weight * log_posterior.gather(1, labels.unsqueeze(1)).squeeze(1)

    def posterior(self, x: Tensor) -> Tensor:
        """The generator's own probabilities of the classes of samples x, float64 [B, K]."""
        return cast(LikelihoodGenerator, self.generator).log_posterior(x).exp()


def as_batch(
    rows: slice, labels: Tensor, omega: np.ndarray, samples: Samples, storage: Storage, posterior: Tensor | None = None
) -> Batch:
    """Encode samples for the pool. Nobody has assessed them yet: their entropies are nan.

    posterior: the classes' probabilities [B, K], for soft labels.
    """
    return Batch(
        row=np.arange(rows.start, rows.stop),
        label=labels.numpy(),
        seed=samples.seeds,
        omega=omega,
        entropy=np.full(len(labels), np.nan, np.float32),
        correct=np.zeros(len(labels), bool),
        example=storage.encode(samples.x),
        draws=samples.draws,
        redrawn=samples.redrawn,
        seconds=np.zeros(len(labels)),
        posterior=None if posterior is None else pa.array(list(posterior.float().numpy()), POSTERIOR),
    )
