"""Deliberate Practice (paper Algorithm 1). It knows a learner, a pool and a generator; not images, not diffusion."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dp_real.config import Config
from dp_real.errors import Interrupted
from dp_real.generator import Generator
from dp_real.guidance import EntropyGuidance
from dp_real.learner import Learner
from dp_real.pool import Pool
from dp_real.seeds import Stream, row_seeds, torch_rng


@dataclass
class State:
    """All that changes in a run, beside the learner's tensors and the pool."""

    step: int = 0
    rounds: int = 0
    stale: int = 0  # T: evaluations since the validation accuracy last rose, or since data was last added
    best: float = 0.0
    epoch: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    generation_seconds: float = 0.0
    seconds: float = 0.0


class Journal(Protocol):
    """Where a run leaves its traces, and where it hears that it should stop."""

    def evaluation(self, row: dict[str, Any]) -> None: ...
    def addition(self, row: dict[str, Any]) -> None: ...
    def checkpoint(self, state: State, learner: Learner, pool: Pool) -> None: ...
    def stop_requested(self) -> bool: ...
    def advance(self, steps: int) -> None: ...


def practice(
    config: Config,
    learner: Learner,
    generator: Generator,
    pool: Pool,
    validate: Callable[[Learner], float],
    journal: Journal,
    state: State,
) -> None:
    """Train; whenever the validation accuracy stops rising, add examples that the current learner finds hard.

    Begins anew or where `state`, `learner` and `pool` stand. Raises Interrupted after a checkpoint if asked to stop.
    """
    plan, training = config.practice, config.training
    cooldown_begins = training.steps - training.cooldown_steps
    clock = time.monotonic() - state.seconds
    if state.rounds == 0:
        add_examples(config, plan.initial, None, learner, generator, pool, journal, state)
    while state.step < training.steps:
        out_of_patience = state.stale >= plan.patience
        if out_of_patience and state.rounds <= plan.additions and state.step < cooldown_begins:
            journal.checkpoint(state, learner, pool)  # branch-out starts from here
            add_examples(config, plan.increment, guidance_of(config, learner), learner, generator, pool, journal, state)
            state.stale = 0
        if journal.stop_requested():
            journal.checkpoint(state, learner, pool)
            raise Interrupted

        rows = torch.randint(
            len(pool), (training.batch_size,), generator=torch_rng(config.seed, Stream.BATCH, state.step)
        )
        state.loss_sum += learner.train_step(*pool.batch(rows)).item()
        state.loss_steps += 1
        state.epoch += training.batch_size / len(pool)
        state.step += 1
        journal.advance(1)

        if state.step % plan.evaluate_every == 0 or state.step == training.steps:
            accuracy = validate(learner)
            state.stale = 0 if accuracy > state.best else state.stale + 1
            state.best = max(state.best, accuracy)
            state.seconds = time.monotonic() - clock
            journal.evaluation(
                {
                    "step": state.step,
                    "pool_size": len(pool),
                    "epoch": state.epoch,
                    "lr": learner.learning_rate,
                    "train_loss": state.loss_sum / state.loss_steps,
                    "val_accuracy": accuracy,
                    "images_generated": len(pool),
                    "seconds": state.seconds,
                }
            )
            state.loss_sum, state.loss_steps = 0.0, 0


def guidance_of(config: Config, learner: Learner) -> EntropyGuidance | None:
    """Entropy guidance by the learner as it is now; none at omega = 0, which is plain sampling bit for bit."""
    options = config.guidance.model_dump()
    return EntropyGuidance(learner.logits, **options) if config.guidance.omega else None


def add_examples(
    config: Config,
    count: int,
    guidance: EntropyGuidance | None,
    learner: Learner,
    generator: Generator,
    pool: Pool,
    journal: Journal,
    state: State,
) -> None:
    """One round: draw `count` class-balanced examples in blocks of the configured size and commit them to the pool."""
    begin = time.monotonic()
    labels = (len(pool) + torch.arange(count)) % generator.n_classes
    seeds = row_seeds(config.seed, state.rounds, range(count))
    size = config.sampling.block_size
    x = torch.cat(
        [generator.sample(labels[i : i + size], seeds[i : i + size], guidance) for i in range(0, count, size)]
    )
    entropy, correct = learner.assess(x, labels)
    omega = config.guidance.omega if guidance else 0.0
    pool.append(state.rounds, x, labels, seeds, omega, entropy, correct)
    seconds = time.monotonic() - begin
    state.generation_seconds += seconds
    journal.addition(
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
