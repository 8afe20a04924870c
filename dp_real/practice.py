"""Deliberate Practice (paper Algorithm 1). It knows a learner, a pool and a generator; not images, not diffusion."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dp_real.config import Config
from dp_real.errors import Interrupted
from dp_real.guidance import EntropyGuidance
from dp_real.learner import assess
from dp_real.pool import Pool
from dp_real.protocols import Generator, Journal, Learner
from dp_real.seeds import Stream, row_seeds, torch_rng


@dataclass
class State:
    """All that changes in a run, beside the learner's tensors and the pool's rows."""

    step: int = 0
    rounds: int = 0  # in the pool, the initial one included
    stale: int = 0  # T: evaluations since the validation accuracy last rose or data was last added
    best: float = 0.0  # validation accuracy
    epoch: float = 0.0  # passes over the pool as it was at each step
    seconds: float = 0.0
    generation_seconds: float = 0.0


@dataclass
class Practice:
    """One run. It begins, or goes on, where `state`, `learner` and `pool` stand together."""

    config: Config
    learner: Learner
    generator: Generator
    pool: Pool
    validate: Callable[[Learner], float]
    journal: Journal
    state: State

    def run(self) -> None:
        """Train; whenever the validation accuracy stops rising, add examples that the current learner finds hard.

        Raises Interrupted, after a checkpoint, if the journal asks to stop.
        """
        config, state = self.config, self.state
        self._clock = time.monotonic() - state.seconds
        if state.rounds == 0:
            self.add_round(config.practice.initial, guidance=None)
        while state.step < config.training.steps:
            if self.wants_examples():
                self.checkpoint()
                self.add_round(config.practice.increment, self.guidance())
            if self.journal.stop_requested():
                self.checkpoint()
                raise Interrupted
            self.train_step()
            if state.step % config.practice.evaluate_every == 0 or state.step == config.training.steps:
                self.evaluate()

    def wants_examples(self) -> bool:
        """Out of patience, with additions left and the cool-down not begun."""
        plan, training, state = self.config.practice, self.config.training, self.state
        cooling_down = state.step >= training.steps - training.cooldown_steps
        return state.stale >= plan.patience and state.rounds <= plan.additions and not cooling_down

    def guidance(self) -> EntropyGuidance | None:
        """Entropy guidance by the learner as it is now; none at omega = 0, which is plain sampling bit for bit."""
        options = self.config.guidance
        return EntropyGuidance(self.learner.logits, **options.model_dump()) if options.omega else None

    def add_round(self, count: int, guidance: EntropyGuidance | None) -> None:
        """Draw `count` class-balanced examples, in blocks of the configured size, and commit them to the pool."""
        begin = time.monotonic()
        state, size = self.state, self.config.sampling.block_size
        labels = (len(self.pool) + torch.arange(count)) % self.generator.n_classes
        seeds = row_seeds(self.config.seed, state.rounds, range(count))
        blocks = [slice(start, start + size) for start in range(0, count, size)]
        x = torch.cat([self.generator.sample(labels[block], seeds[block], guidance) for block in blocks])
        entropy, correct = assess(self.learner, x, labels)
        omega = self.config.guidance.omega if guidance else 0.0
        self.pool.append(state.rounds, x, labels, seeds, omega, entropy, correct)
        seconds = time.monotonic() - begin
        self.journal.addition(
            {
                "round": state.rounds,
                "step": state.step,
                "count": count,
                "omega": omega,
                "entropy": entropy.mean().item(),
                "fraction_wrong": 1 - correct.double().mean().item(),
                "seconds": seconds,
            }
        )
        state.rounds += 1
        state.stale = 0
        state.generation_seconds += seconds

    def train_step(self) -> None:
        """One optimizer step on a mini-batch drawn uniformly from the pool as it is now."""
        state, size = self.state, self.config.training.batch_size
        draw = torch_rng(self.config.seed, Stream.BATCH, state.step)
        self.learner.train_step(*self.pool.batch(torch.randint(len(self.pool), (size,), generator=draw)))
        state.step += 1
        state.epoch += size / len(self.pool)

    def evaluate(self) -> None:
        """Validation accuracy on real images, and the patience that it renews or uses up."""
        state = self.state
        accuracy = self.validate(self.learner)
        state.stale = 0 if accuracy > state.best else state.stale + 1
        state.best = max(state.best, accuracy)
        state.seconds = time.monotonic() - self._clock
        self.journal.evaluation(
            {
                "step": state.step,
                "pool_size": len(self.pool),
                "epoch": state.epoch,
                "lr": self.learner.learning_rate,
                "train_loss": self.learner.drain_loss(),
                "val_accuracy": accuracy,
                "images_generated": len(self.pool),
                "seconds": state.seconds,
            }
        )

    def checkpoint(self) -> None:
        """Where resuming and branching out start from."""
        self.state.seconds = time.monotonic() - self._clock
        self.journal.checkpoint(self.state, self.learner, self.pool)
