"""Trains a learner on a pool along its schedule, with evaluations and checkpoints on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import cast

import torch

from dp_base.errors import DivergedError, Interrupted
from dp_real.config import Config
from dp_real.learners.models.network import NetworkLearner
from dp_real.loop.accounts import Clock, evaluation_row
from dp_real.loop.adjustment import LogitAdjustment
from dp_real.loop.batches import MiniBatches
from dp_real.loop.pace import Pace
from dp_real.loop.recorder import Recorder
from dp_real.loop.state import NO_ACCURACY, LoopState
from dp_real.pool import Loader, Pool
from dp_real.protocols import Learner
from dp_real.runtime import processes
from dp_real.runtime.finite import LEARNER, require_finite
from dp_real.runtime.shares import StepShare

WELL_ABOVE = 0.2  # chance, from where a learner that falls back to chance has collapsed
AT_CHANCE = 0.05  # of what the best accuracy was above chance
BEYOND_DOUBT = 6  # standard errors of an accuracy at chance, that the best one was above it


@dataclass
class Training:
    """The training of one run. It goes on from `state`; `learner` and `pool` must be as they were then.

    validate: the accuracy that patience watches. validation_size: the number of examples behind it; 0: not known, and
    whether the learner has collapsed is not asked.
    """

    config: Config
    learner: Learner
    pool: Pool
    validate: Callable[[Learner], float]
    recorder: Recorder
    state: LoopState
    validation_size: int = 0

    def __post_init__(self) -> None:
        size = self.config.training.batch_size
        self.batches = MiniBatches(
            self.pool,
            size,
            self.config.practice.new_sample_weight,
            self.config.seed,
            balanced=self.config.training.balanced_batches,
        )
        self.adjustment = LogitAdjustment(self.config, self.pool)
        self.loader = Loader(self.pool, self.batches.at)
        self.clock = Clock(self.state.seconds)
        self.pace = Pace(self.loader)
        shares_rows = size > 0 and processes.this_process().num_processes > 1
        self.share: StepShare | None = self.batches.share if shares_rows else None

    def cool_down(self) -> None:
        """End the run from this step on: a branch, in which nothing is added and the best accuracy is its own."""
        self.state.best = NO_ACCURACY
        self.state.last_step = self.state.step + self.config.training.cooldown_steps
        self.learner.finish_at(self.state.last_step)
        with self.naming_the_step():
            while not self.done:
                self.advance()
            self.checkpoint(keep=False)

    @property
    def done(self) -> bool:
        """Whether the last step was taken."""
        return self.state.step >= self.state.last_step

    @property
    def at_constant_rate(self) -> bool:
        """Whether the learning rate is neither warming up nor cooling down."""
        training = self.config.training
        state = self.state
        return training.warmup_steps <= state.step < state.last_step - training.cooldown_steps

    def advance(self) -> None:
        """Take one step, with the evaluation and the checkpoint that are due after it.

        Raises Interrupted, after a checkpoint, if the recorder asks to stop.
        """
        options = self.config.practice
        state = self.state
        with processes.phase(f"training at step {state.step}"):
            if self.recorder.stop_requested():
                self.checkpoint(keep=False)
                processes.wait_for_all()  # a launcher may kill the others once one has left: the checkpoint is whole
                raise Interrupted
            self.train_step()
            if state.step % options.evaluate_every == 0 or self.done:
                self.evaluate()
            every = options.checkpoint_every * options.evaluate_every
            if every and state.step % every == 0:
                self.checkpoint(keep=False)

    def train_step(self) -> None:
        """One optimizer step on a mini-batch, which the processes share. Batch size 0: on the whole pool."""
        state = self.state
        self.pace.go(state)
        x, y = self.loader.batch(state.step)
        if self.config.training.logit_adjustment:
            offset = self.adjustment.of(self.batches.at(state.step))
            cast(NetworkLearner, self.learner).train_step(x, y, self.share, offset)
        else:
            self.learner.train_step(x, y, self.share)
        state.step += 1
        seen = self.batches.size or len(self.pool)
        state.seen += seen
        state.epoch += seen / len(self.pool)

    def evaluate(self) -> None:
        """Measure the validation accuracy on real examples. A new best resets T to 0; else T rises by 1.

        Raises DivergedError if the loss is not finite, or if the learner has collapsed: patience would then buy samples
        that are hard for a dead learner.
        """
        state = self.state
        loss = self.learner.drain_loss()
        pace = self.pace.stop(state)
        require_finite("training losses", LEARNER, [torch.tensor(loss)])
        with processes.phase(f"evaluating at step {state.step}"):
            accuracy = self.validate(self.learner)
        chance = 1 / self.config.task.n_classes
        if has_collapsed(accuracy, state.best, chance, self.validation_size):
            raise DivergedError(
                f"the validation accuracy fell from {state.best:.1%} to {accuracy:.1%}, which is chance: {LEARNER}"
            )
        improved = accuracy > state.best
        if improved and self.config.training.keep_best:
            self.recorder.best(self.learner)
        state.stale = 0 if improved else state.stale + 1
        state.best = max(state.best, accuracy)
        state.seconds = self.clock.agreed()
        if norm := getattr(self.learner, "gradient_norm", None):  # kinds of learners without gradients have none
            pace["gradient_norm"] = norm()
        row = evaluation_row(state, self.pool, self.learner.learning_rate, loss, accuracy)
        self.recorder.evaluation(row, pace, state.last_step)

    def checkpoint(self, keep: bool) -> None:
        """Write a checkpoint to resume from. keep: branches start from it, too."""
        self.state.seconds = self.clock.agreed()
        self.recorder.checkpoint(self.state, self.learner, self.pool, keep)

    @cached_property
    def row_flops(self) -> int:
        """FLOPs of training on one row."""
        return self.learner.row_flops(self.config.task.sample_shape)

    @contextmanager
    def naming_the_step(self) -> Iterator[None]:
        """A DivergedError that the block raises begins with the step."""
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"step {self.state.step}: {error}") from error


def has_collapsed(accuracy: float, best: float, chance: float, examples: int) -> bool:
    """Whether an accuracy on so many examples is that of chance, after one was well above it, beyond doubt."""
    if examples == 0:
        return False
    noise = sqrt(chance * (1 - chance) / examples)
    above = best - chance
    return above > max(WELL_ABOVE, BEYOND_DOUBT * noise) and accuracy - chance < AT_CHANCE * above
