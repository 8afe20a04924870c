"""Deliberate practice (paper Algorithm 1), in terms of a learner, a pool and a source of examples of any form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dp_real.loop.accounts import RoundAccount
from dp_real.loop.training import Training
from dp_real.rounds.drawing_costs import DrawCounts, GenerationCosts
from dp_real.rounds.round_labels import round_labels
from dp_real.rounds.source import Source
from dp_real.runtime import memory, processes


@dataclass
class Practice:
    """The loop of one run: the source adds examples whenever training no longer helps.

    price: the costs of a round, given its index and what was drawn for it.
    """

    training: Training
    source: Source
    price: Callable[[int, DrawCounts], GenerationCosts]

    def run(self) -> None:
        """Train. Whenever the validation accuracy stops rising, add examples that the current learner finds hard.

        Raises Interrupted, after a checkpoint, if the recorder asks to stop; within a round, if the source raises it.
        Raises DivergedError, with the step, once numbers are not finite. No checkpoint has such numbers.
        """
        options = self.training.config.practice
        training = self.training
        with training.naming_the_step():
            if training.state.rounds == 0:
                self.add_examples(options.initial)  # D_0: N plain samples
            while not training.done:
                if self.wants_examples():  # T ≥ T_max
                    training.checkpoint(keep=True)  # branches start here
                    self.add_examples(options.increment)  # P samples that are hard for f; T = 0
                training.advance()  # a mini-batch of the pool; every tau steps T = 0 if it improved, else T += 1
            training.checkpoint(keep=False)  # what follows, the evaluation, may take long or fail

    def wants_examples(self) -> bool:
        """Whether patience has run out, with additions left, at the constant learning rate."""
        options = self.training.config.practice
        state = self.training.state
        out_of_patience = state.stale >= options.t_max(len(self.training.pool))
        return out_of_patience and state.rounds <= options.additions and self.training.at_constant_rate

    def add_examples(self, count: int) -> None:
        """Draw a round of `count` examples, commit it to the pool, and write a checkpoint."""
        training = self.training
        state = self.training.state
        n_classes = training.config.task.n_classes
        begin = training.clock.now()
        with processes.phase(f"drawing round {state.rounds}"):
            memory.release()  # what training kept, for libraries that drawing calls
            labels = round_labels(training.config, state.rounds, training.pool.y, count)
            drawn = self.source.draw(state.rounds, labels, training.learner, state.total_guidance)
            costs = self.price(state.rounds, drawn.counts)
            training.clock.advance(drawn.saved)
            memory.release()  # what drawing kept, for training
        with processes.phase(f"committing round {state.rounds}"):
            training.pool.append(state.rounds, drawn.batch)
            costs = sum(processes.gather([costs]), GenerationCosts())
            account = RoundAccount(training.pool, costs, begin, training.clock.now() - begin, training.row_flops)
            training.recorder.addition(account.row(state, n_classes), training.pool)
            state.training_seconds, state.training_flops = account.training(state)
            state.generation_seconds += account.seconds
            state.costs += costs
            state.total_guidance = drawn.total_guidance
            state.rounds += 1
            state.stale = 0
            training.checkpoint(keep=False)
            self.source.forget()
