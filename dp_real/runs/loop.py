"""Deliberate practice (paper Algorithm 1): train; when that no longer helps, add examples that are hard now."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from dp_base.errors import DivergedError, Interrupted
from dp_real.config import Config
from dp_real.data.examples import RealData
from dp_real.evaluate.assess import accuracies, chance, is_imbalanced
from dp_real.practice.practice import Additions, PracticeState
from dp_real.protocols import Learner
from dp_real.runs.batches import Loader, LogitAdjustment, MiniBatches
from dp_real.runtime import distributed
from dp_real.runtime.computing import LEARNER_REMEDY, require_finite

if TYPE_CHECKING:
    from dp_real.runs.folder import RunFolder

CHECKPOINT_EVERY = 20  # evaluations
NO_ACCURACY = -1.0  # the best validation accuracy before any was measured
WELL_ABOVE = 0.2  # margin over chance from which a fall back to chance is a collapse
AT_CHANCE = 0.05  # share of the best accuracy's margin over chance
BEYOND_DOUBT = 6  # standard errors of an accuracy at chance


@dataclass
class LoopState(PracticeState):
    """All that changes in a run except learner and pool.

    Seconds are wall time, without interruptions.
    """

    last_step: int  # where training and the cool-down end
    step: int = 0
    best: float = field(default=NO_ACCURACY, kw_only=True)  # best value of patience's metric
    best_balanced: float = NO_ACCURACY  # best mean of the classes' validation accuracies
    seen: int = 0  # rows used in training, with repeats, over all processes
    epoch: float = 0.0  # passes over the pool, by its size at each step
    seconds: float = 0.0
    generation_seconds: float = 0.0
    training_seconds: float = 0.0  # until samples were last added; all but generation
    training_flops: int = 0  # until samples were last added
    train_loss: float | None = None  # the mean between the last two evaluations; None: samples were just added
    accuracy: float = NO_ACCURACY  # of the last evaluation


@dataclass
class TrainingLoop(Additions):
    """The loop of one run from `state` on, with `learner` and `pool` of that time. `rounds` is None in a branch."""

    config: Config
    state: LoopState
    learner: Learner
    data: RealData
    folder: "RunFolder"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.batches = MiniBatches(self.config, self.pool)
        self.adjustment = LogitAdjustment(self.config, self.pool)
        self.loader = Loader(self.pool, self.batches.at)
        self.began = time.monotonic() - self.state.seconds
        self.measured: tuple[float, int, float] | None = None  # time, rows seen, and waiting time after an evaluation
        self.chance, error = chance(self.data.validation)
        self.doubt = BEYOND_DOUBT * error
        self.is_imbalanced = is_imbalanced(self.data.validation)

    def run(self) -> None:
        """Train, and add hard examples whenever the validation accuracy stops rising.

        Raises Interrupted after a checkpoint. All numbers in checkpoints are finite.
        """
        options = self.config.practice
        try:
            if self.state.rounds == 0:
                self.add_examples(options.initial)  # D_0: N plain samples
            while not self.done:
                if self.wants_examples():  # T ≥ T_max
                    self.checkpoint(keep=True)  # branches start here
                    self.add_examples(options.increment)  # P samples that are hard for f; T = 0
                self.advance()  # a mini-batch of the pool; every tau steps T = 0 if f improved, else T += 1
            self.checkpoint(keep=False)  # the evaluation, which follows, may take long or fail
        except DivergedError as error:
            raise DivergedError(f"step {self.state.step}: {error}") from error

    def cool_down(self) -> None:
        """End the run as a branch, which adds nothing and has its own best accuracy."""
        self.state.best = self.state.best_balanced = NO_ACCURACY
        self.state.last_step = self.state.step + self.config.training.cooldown_steps  # all in cool-down
        self.learner.finish_at(self.state.last_step)
        self.run()

    def wants_examples(self) -> bool:
        """Whether to add: only at a constant rate or, with practice.in_warmup, if the learner knows something."""
        options, training, state = self.config.practice, self.config.training, self.state
        if state.train_loss is None or not self.are_due:
            return False
        if state.step >= state.last_step - training.cooldown_steps:
            return False
        return state.step >= training.warmup_steps or (options.in_warmup and self.knows_something)

    def add_examples(self, count: int) -> None:
        state, begin = self.state, self.seconds
        added = self.draw_round(self.learner.logits, self.labels(count))
        self.began -= added.saved
        seconds = self.seconds - begin
        training_seconds, training_flops = begin - state.generation_seconds, self.row_flops * state.seen
        row = {"round": added.row["round"], "step": state.step} | added.row
        row |= {
            "seconds": seconds,
            "training_flops": training_flops - state.training_flops,
            "training_seconds": training_seconds - state.training_seconds,
        }
        self.folder.addition(row)
        state.training_seconds, state.training_flops = training_seconds, training_flops
        state.generation_seconds += seconds
        state.train_loss = None
        self.checkpoint(keep=False)
        self.folder.forget_blocks()

    @property
    def knows_something(self) -> bool:
        """Whether the best accuracy was significantly above chance."""
        return self.state.best_balanced - self.chance > self.doubt

    @property
    def done(self) -> bool:
        return self.state.step >= self.state.last_step

    def advance(self) -> None:
        """One step, and an evaluation and checkpoint if due."""
        options, state = self.config.practice, self.state
        if self.folder.stop_requested():
            self.checkpoint(keep=False)
            distributed.wait_for_everyone()  # a launcher may kill the others when one has ended
            raise Interrupted
        self.train_step()
        if state.step % options.evaluate_every == 0 or self.done:
            self.evaluate()
        if state.step % (CHECKPOINT_EVERY * options.evaluate_every) == 0:
            self.checkpoint(keep=False)

    def train_step(self) -> None:
        """One optimizer step, shared by the processes. Batch size 0 is the whole pool."""
        state = self.state
        self.measured = self.measured or (time.monotonic(), state.seen, self.loader.waited)
        x, y = self.loader.batch(state.step)
        is_adjusted = self.config.training.logit_adjustment  # then the learner is a network, which takes offsets
        offsets = [self.adjustment.offsets(self.batches.at(state.step))] if is_adjusted else []
        self.learner.train_step(x, y, *offsets)
        state.step += 1
        rows = self.batches.size or len(self.pool)
        state.seen += rows
        state.epoch += rows / len(self.pool)

    def evaluate(self) -> None:
        """Evaluate: a new best resets T to 0; otherwise T rises by 1.

        A collapsed learner ends the run, since patience would add samples for it.
        """
        state = self.state
        state.train_loss = distributed.from_main(self.learner.drain_loss())  # this waits for the device
        pace = self.pace()
        require_finite("training losses", LEARNER_REMEDY, [torch.tensor(state.train_loss)])
        state.accuracy, balanced = distributed.from_main(accuracies(self.learner, self.data.validation))
        if has_collapsed(balanced, state.best_balanced, self.chance, self.doubt):
            fell = f"fell from {state.best_balanced:.1%} to {balanced:.1%}, which is chance"
            raise DivergedError(f"the mean of the classes' validation accuracies {fell}: {LEARNER_REMEDY}")
        state.best_balanced = max(state.best_balanced, balanced)
        # With unequal classes a constant answer has a high accuracy, which a learner that begins to learn would not
        # exceed.
        is_lucky = self.is_imbalanced and not self.knows_something
        watched = balanced if is_lucky or self.config.practice.watch == "balanced" else state.accuracy
        self.observe(watched)
        state.seconds = distributed.from_main(self.seconds)
        row = {
            "step": state.step,
            "pool_size": len(self.pool),
            "epoch": state.epoch,
            "lr": self.learner.learning_rate,
            "train_loss": state.train_loss,
            "val_accuracy": state.accuracy,
            "val_balanced_accuracy": balanced,
            "images_generated": state.costs["generated"],
            "seconds": state.seconds,
        }
        self.folder.evaluation(row, pace, state.last_step)

    def pace(self) -> dict[str, float]:
        """Rates since the last evaluation, over all processes, not for results."""
        if self.measured is None:
            return {}
        begin, seen, waited = self.measured
        self.measured = None
        seconds = max(time.monotonic() - begin, 1e-6)
        facts = {
            "images_per_second": (self.state.seen - seen) / seconds,
            "waiting_share": (self.loader.waited - waited) / seconds,
        }
        if torch.cuda.is_available():
            facts["gpu_memory"] = torch.cuda.max_memory_allocated()
        if norm := getattr(self.learner, "gradient_norm", None):  # kinds of learners without gradients have none
            facts["gradient_norm"] = norm()
        return facts

    @property
    def seconds(self) -> float:
        """Seconds over all sessions of the run."""
        return time.monotonic() - self.began

    def checkpoint(self, keep: bool) -> None:
        if self.rounds is None:
            return  # a stopped branch starts over
        self.state.seconds = distributed.from_main(self.seconds)
        self.folder.checkpoint(self.state, self.learner, self.pool, keep)

    @cached_property
    def row_flops(self) -> int:
        return self.learner.row_flops(self.config.task.sample_shape)


def has_collapsed(accuracy: float, best: float, chance: float, doubt: float) -> bool:
    """Whether an accuracy is at chance, after the best was significantly above it."""
    above = best - chance
    return above > max(WELL_ABOVE, doubt) and accuracy - chance < AT_CHANCE * above
