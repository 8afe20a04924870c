"""Practice in transformers' Trainer, whose train_dataset is `practice.dataset`."""

from typing import Any, Literal, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dp_base.errors import InputError, warn_once
from dp_real.integrations import sign_of
from dp_real.practice.practice import Practice

KEY = "deliberate-practice"  # key of its state in trainer_state.json


class PracticeCallback(TrainerCallback):
    """Calls a practice's `step` at each evaluation; the Trainer's checkpoints keep its state.

    Parameters
    ----------
    monitor
        The metric that `step` gets: "eval_" and compute_metrics's name.
    mode
        "max" for a metric that rises as the model improves, "min" for one that falls; None: "min" if its name ends
        with "loss".
    until
        The share of the training after which nothing is added: the cool-down.
    """

    def __init__(
        self,
        practice: Practice,
        monitor: str = "eval_accuracy",
        mode: Literal["max", "min"] | None = None,
        until: float = 0.8,
    ) -> None:
        self.practice, self.monitor, self.until = practice, monitor, until
        self.sign = sign_of(monitor, mode, until)
        self.others: set[str] = set()  # metrics that were evaluated since the monitored one

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **objects: Any
    ) -> None:
        if saved := callback_states(state).get(KEY):
            self.practice.load_state_dict(saved)
        dataset, loader = self.practice.dataset, objects.get("train_dataloader")
        if loader is not None and loader.dataset is dataset and dataset.columns is None:
            collate = getattr(loader.collate_fn, "data_collator", loader.collate_fn)
            if collate.__module__.startswith("transformers."):  # the user's own may take tuples
                example = '("pixel_values", "labels")'
                raise InputError(
                    f"practice.dataset.columns = None: should be the model's names for sample and label, as {example}"
                )
        if args.eval_strategy == "no":
            warn_once("eval_strategy = 'no': the practice adds nothing without evaluations")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **objects: Any
    ) -> None:
        callback_states(state)[KEY] = self.practice.state_dict()  # a checkpoint may follow

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **objects: Any
    ) -> None:
        metrics = objects["metrics"]
        if not control.should_training_stop and state.global_step < self.until * state.max_steps:
            if self.monitor in metrics:
                self.others.clear()
                self.practice.step(self.sign * metrics[self.monitor], objects["model"])
            elif metrics.keys() <= self.others:  # all sets of a dict of them were evaluated
                raise InputError(f"monitor = '{self.monitor}': the Trainer evaluated {', '.join(sorted(self.others))}")
            else:
                self.others |= metrics.keys()
        self.on_step_end(args, state, control)


def callback_states(state: TrainerState) -> dict[str, Any]:
    """The states of callbacks in trainer_state.json: a dict, whatever the annotation says."""
    return cast(dict[str, Any], state.stateful_callbacks)
