"""Deliberate Practice (paper Algorithm 1), in terms of a learner, a pool and a source of examples of any form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from dp_base.errors import DivergedError, Interrupted
from dp_real.config import Config
from dp_real.loop.accounts import Clock, RoundAccount, evaluation_row
from dp_real.loop.batches import MiniBatches
from dp_real.loop.recorder import Recorder
from dp_real.loop.state import State
from dp_real.pool import Loader, Pool
from dp_real.protocols import Learner
from dp_real.rounds.costs import Costs
from dp_real.rounds.source import Source
from dp_real.runtime import memory, processes
from dp_real.runtime.finite import LEARNER, require_finite


@dataclass
class Practice:
    """One run. It starts or resumes at `state`; `learner` and `pool` must be as they were then.

    source: None if nothing is added. validate: the accuracy that patience watches.
    """

    config: Config
    learner: Learner
    source: Source | None
    pool: Pool
    validate: Callable[[Learner], float]
    recorder: Recorder
    state: State

    def __post_init__(self) -> None:
        size = self.config.training.batch_size
        self.batches = MiniBatches(self.pool, size, self.config.practice.new_sample_weight, self.config.seed)
        self.loader = Loader(self.pool, self.batches.at)
        self.clock = Clock(self.state.seconds)
        shared = size and processes.this_process().num_processes > 1
        self._share = {"share": self.batches.share} if shared else {}

    def run(self) -> None:
        """Train. Whenever the validation accuracy stops rising, add examples that the current learner finds hard.

        Raises Interrupted, after a checkpoint, if the recorder asks to stop; within a round, if the source raises it.
        Raises DivergedError, with the step, once numbers are not finite. No checkpoint has such numbers.
        """
        try:
            self._run()
        except DivergedError as error:
            raise DivergedError(f"step {self.state.step}: {error}") from error

    def _run(self) -> None:
        options, state = self.config.practice, self.state
        if state.rounds == 0:
            self.add_examples(options.initial)  # D_0: N plain samples
        processes.enter(f"training after step {state.step}")
        while state.step < state.last_step:
            if self.wants_examples():  # T ≥ T_max
                self.checkpoint(keep=True)  # branches start here
                self.add_examples(options.increment)  # P samples that are hard for f; T = 0
            if self.recorder.stop_requested():
                self.checkpoint(keep=False)
                raise Interrupted
            self.train_step()  # a mini-batch of the pool as it is now
            if state.step % options.evaluate_every == 0 or state.step == state.last_step:  # every tau iterations
                self.evaluate()  # improved: T = 0, else T += 1
            if options.checkpoint_every and state.step % (options.checkpoint_every * options.evaluate_every) == 0:
                self.checkpoint(keep=False)
        self.checkpoint(keep=False)  # what follows, the evaluation, may take long or fail

    def cool_down(self) -> None:
        """End the run from this step on: a branch, in which nothing is added and the best accuracy is its own."""
        self.state.best = State.best
        self.begin_cooldown()
        self.run()

    def wants_examples(self) -> bool:
        """Whether patience has run out, with additions left, at the constant rate."""
        return self.out_of_patience and self.may_add and self.constant

    @property
    def out_of_patience(self) -> bool:
        """Whether T ≥ T_max."""
        return self.state.stale >= self.config.practice.t_max(len(self.pool))

    @property
    def may_add(self) -> bool:
        """Whether there is another addition to come."""
        return self.state.rounds <= self.config.practice.additions

    @property
    def constant(self) -> bool:
        """Whether the rate is constant, neither warming up nor cooling down. Data are added then only."""
        training, state = self.config.training, self.state
        return training.warmup_steps <= state.step < state.last_step - training.cooldown_steps

    def begin_cooldown(self) -> None:
        """Start the cool-down at this step."""
        self.state.last_step = self.state.step + self.config.training.cooldown_steps
        self.learner.finish_at(self.state.last_step)

    def add_examples(self, count: int) -> None:
        """Draw a round of `count` class-balanced examples, commit it to the pool, and write a checkpoint."""
        assert self.source is not None, "the plan adds nothing where there is no source"
        state, begin, n_classes = self.state, self.clock.now(), self.config.task.n_classes
        labels = (len(self.pool) + torch.arange(count)) % n_classes
        memory.release()  # what training kept, for libraries that drawing calls, and the other way round
        batch, costs, steering, saved = self.source.draw(state.rounds, labels, self.learner, state.steering)
        self.clock.advance(saved)
        memory.release()
        processes.enter(f"committing round {state.rounds}")
        self.pool.append(state.rounds, batch)
        costs = sum(processes.gather([costs]), Costs())
        account = RoundAccount(self.pool, costs, begin, self.clock.now() - begin, self.row_flops)
        self.recorder.addition(account.row(state, n_classes))
        state.training_seconds, state.training_flops = account.training(state)
        state.generation_seconds += account.seconds
        state.costs += costs
        state.steering = steering
        state.rounds += 1
        state.stale = 0
        self.checkpoint(keep=False)
        self.source.forget()
        processes.enter(f"training after step {state.step}")

    @cached_property
    def row_flops(self) -> int:
        """FLOPs of training on one row."""
        return self.learner.row_flops(self.config.task.sample_shape)

    def train_step(self) -> None:
        """One optimizer step on a mini-batch, which the processes share. Batch size 0: on the whole pool."""
        state = self.state
        x, y = self.loader.batch(state.step)
        self.learner.train_step(x, y, **self._share)
        state.step += 1
        seen = self.batches.size or len(self.pool)
        state.seen += seen
        state.epoch += seen / len(self.pool)

    def evaluate(self) -> None:
        """Measure the validation accuracy on real examples. A new best resets T to 0; else T rises by 1."""
        state, loss = self.state, self.learner.drain_loss()
        require_finite("training losses", LEARNER, [torch.tensor(loss)])
        processes.enter(f"evaluating at step {state.step}")
        accuracy = self.validate(self.learner)
        processes.enter(f"training after step {state.step}")
        improved = accuracy > state.best
        if improved and self.config.training.keep_best:
            self.recorder.best(self.learner)
        state.stale = 0 if improved else state.stale + 1
        state.best = max(state.best, accuracy)
        state.seconds = self.clock.agreed()
        self.recorder.evaluation(evaluation_row(state, self.pool, self.learner.learning_rate, loss, accuracy))

    def checkpoint(self, keep: bool) -> None:
        """Write a checkpoint to resume from. keep: branches start from it, too."""
        self.state.seconds = self.clock.agreed()
        self.recorder.checkpoint(self.state, self.learner, self.pool, keep)
