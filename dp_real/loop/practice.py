"""Deliberate Practice (paper Algorithm 1). It knows a learner, a pool and a generator; not images, not diffusion."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from dp_base.errors import Interrupted
from dp_real.config.config import Config, PracticeConfig
from dp_real.pool.pool import Loader, Pool
from dp_real.protocols import Journal, Learner
from dp_real.rounds.source import PUSH_START, Costs, Source
from dp_real.runtime import processes
from dp_real.runtime.seeds import Stream, torch_rng

BLOCK_STEPS = 256  # steps whose batches are drawn at once


@dataclass
class State:
    """All that changes in a run, beside the learner's tensors and the pool's rows."""

    last_step: int  # where training ends; the cool-down ends with it
    step: int = 0
    rounds: int = 0  # in the pool, the initial one included
    stale: int = 0  # T: evaluations since the validation accuracy last rose or data was last added
    best: float = -1.0  # validation accuracy
    push: float = PUSH_START  # omega times the guided steps of the next round, where it steers itself
    costs: Costs = field(default_factory=Costs)  # of generation
    seen: int = 0  # rows that training has used, with repeats, over all processes
    epoch: float = 0.0  # passes over the pool as it was at each step
    seconds: float = 0.0
    generation_seconds: float = 0.0
    training_seconds: float = 0.0  # all but generation, until data was last added
    training_flops: int = 0  # likewise
    temperature: float = 0.0  # of the label check; 0: not fitted yet


@dataclass
class Practice:
    """One run. It begins, or goes on, where `state`, `learner` and `pool` stand together."""

    config: Config
    learner: Learner
    source: Source
    pool: Pool
    validate: Callable[[Learner], float]
    journal: Journal
    state: State
    _clock: float = field(default=0.0, init=False)
    _block: tuple[tuple[int, int], torch.Tensor] | None = field(default=None, init=False)  # see `mini_batch`

    def __post_init__(self) -> None:
        self.loader = Loader(self.pool, self.mini_batch)
        self._shards = processes.state().num_processes if self.config.training.batch_size else 1  # of a batch

    def run(self) -> None:
        """Train; whenever the validation accuracy stops rising, add examples that the current learner finds hard.

        Raises Interrupted, after a checkpoint, if the journal asks to stop.
        """
        plan, state = self.config.practice, self.state
        self._clock = time.monotonic() - state.seconds
        if state.rounds == 0:
            self.add_examples(plan.initial)
        while state.step < state.last_step:
            if self.wants_examples():
                self.checkpoint(keep=True)
                self.add_examples(plan.increment)
            elif self.wants_cooldown():
                self.begin_cooldown()
                continue
            if self.journal.stop_requested():
                self.checkpoint(keep=False)
                raise Interrupted
            self.train_step()
            if state.step % plan.evaluate_every == 0 or state.step == state.last_step:
                self.evaluate()
            if plan.checkpoint_every and state.step % (plan.checkpoint_every * plan.evaluate_every) == 0:
                self.checkpoint(keep=False)

    @property
    def constant(self) -> bool:
        """Neither warming up nor cooling down: when data may be added."""
        training, state = self.config.training, self.state
        return training.warmup_steps <= state.step < state.last_step - training.cooldown_steps

    @property
    def out_of_patience(self) -> bool:
        return self.state.stale >= patience(self.config.practice, len(self.pool))

    def wants_examples(self) -> bool:
        """Out of patience, with additions left, at the constant rate."""
        return self.out_of_patience and self.may_add and self.constant

    @property
    def may_add(self) -> bool:
        """Whether the plan, and its budget of samples, have room for another addition."""
        plan, state = self.config.practice, self.state
        in_budget = not plan.samples or state.costs.generated + plan.oversample * plan.increment <= plan.samples
        return state.rounds <= plan.additions and in_budget

    def wants_cooldown(self) -> bool:
        """Nothing more to gain by the plan (`early_stop`), or its time is over (`seconds`)."""
        plan = self.config.practice
        done = plan.early_stop and self.out_of_patience and not self.may_add
        late = 0 < plan.seconds < self.state.seconds
        return (done or late) and self.constant

    def begin_cooldown(self) -> None:
        """Cool down from here, rather than where the plan would have."""
        self.state.last_step = self.state.step + self.config.training.cooldown_steps
        self.learner.finish_at(self.state.last_step)

    def add_examples(self, count: int) -> None:
        """Draw one round of `count` class-balanced examples and commit them to the pool."""
        begin, state = time.monotonic(), self.state
        labels = (len(self.pool) + torch.arange(count)) % self.source.generator.n_classes
        rows, costs = self.source.draw(labels, self.learner, state)
        self.pool.append(state.rounds, rows)
        self.account(sum(processes.gather([costs]), Costs()), begin)
        state.rounds += 1
        state.stale = 0
        self.checkpoint(keep=False)
        self.source.forget()

    def account(self, costs: Costs, begin: float) -> None:
        """Report the round that was begun then, and add up what the run has cost.

        Validation and checkpoints count as time of training.
        """
        state, facts = self.state, self.pool.table(newest=True)
        seconds = time.monotonic() - begin
        training_seconds, training_flops = begin - self._clock - state.generation_seconds, self.row_flops * state.seen
        labels = facts["label"].to_numpy()
        self.journal.addition(
            {
                "round": state.rounds,
                "step": state.step,
                "count": len(facts),
                "generated": costs.generated,
                "omega": facts["omega"].to_numpy().mean(dtype=float),
                "entropy": facts["entropy"].to_numpy().mean(dtype=float),
                "fraction_wrong": 1 - facts["correct"].to_numpy(zero_copy_only=False).mean(),
                "rarest_class": int(np.bincount(labels, minlength=self.source.generator.n_classes).min()),
                "denoiser_forwards": costs.forwards,
                "denoiser_backwards": costs.backwards,
                "flops": costs.flops,
                "seconds": seconds,
                "training_flops": training_flops - state.training_flops,
                "training_seconds": training_seconds - state.training_seconds,
            }
        )
        state.costs += costs
        state.generation_seconds += seconds
        state.training_seconds, state.training_flops = training_seconds, training_flops

    @cached_property
    def row_flops(self) -> int:
        """FLOPs of training on one row."""
        return self.learner.row_flops(self.source.generator.sample_shape)

    def train_step(self) -> None:
        """One optimizer step on a mini-batch of the pool as it is now; batch size 0: on all of it."""
        state = self.state
        x, y = self.loader.batch(state.step)
        self.learner.train_step(x, y)
        state.step += 1
        seen = len(y) * self._shards
        state.seen += seen
        state.epoch += seen / len(self.pool)

    def mini_batch(self, step: int) -> torch.Tensor:
        """Row positions for this process and step: uniform, or the latest round's `new_sample_weight` times as likely.

        They are drawn for many steps at once, to save time.
        """
        n, size = len(self.pool), self.config.training.batch_size
        if size == 0:
            return torch.arange(n)
        block, row = divmod(step, BLOCK_STEPS)
        if self._block is None or self._block[0] != (block, n):
            weight, old = self.config.practice.new_sample_weight, n - self.pool.newest
            draw = torch_rng(self.config.seed, Stream.BATCH, block, processes.state().process_index)
            position = torch.rand(BLOCK_STEPS, size, generator=draw, dtype=torch.float64)
            position *= old + weight * self.pool.newest
            if weight != 1:
                position = torch.where(position < old, position, old + (position - old) / weight)
            self._block = (block, n), position.long().clamp_(max=n - 1)
        return self._block[1][row]

    def evaluate(self) -> None:
        """Validation accuracy on real examples, and the patience that it renews or uses up."""
        state = self.state
        accuracy = self.validate(self.learner)
        if accuracy > state.best and self.config.training.keep_best:
            self.journal.best(self.learner)
        state.stale = 0 if accuracy > state.best else state.stale + 1
        state.best = max(state.best, accuracy)
        state.seconds = processes.from_main(time.monotonic() - self._clock)
        self.journal.evaluation(
            {
                "step": state.step,
                "pool_size": len(self.pool),
                "epoch": state.epoch,
                "lr": self.learner.learning_rate,
                "train_loss": self.learner.drain_loss(),
                "val_accuracy": accuracy,
                "images_generated": state.costs.generated,
                "seconds": state.seconds,
            }
        )

    def checkpoint(self, keep: bool) -> None:
        """Where resuming starts from; one to keep is where branching out does, too."""
        self.state.seconds = processes.from_main(time.monotonic() - self._clock)
        self.journal.checkpoint(self.state, self.learner, self.pool, keep)


def patience(plan: PracticeConfig, pool_size: int) -> int:
    """T_max in evaluations; `incremental` keeps the passes over the pool between additions as they were at first."""
    return plan.patience if plan.patience_policy == "fixed" else round(plan.patience * pool_size / plan.initial)
