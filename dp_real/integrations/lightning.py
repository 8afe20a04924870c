"""Practice in Lightning's Trainer, whose training loader reads `practice.dataset`."""

from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from dp_base.errors import InputError, warn_once
from dp_real.integrations import sign_of
from dp_real.practice.practice import Practice


class PracticeCallback(Callback):
    """Calls a practice's `step` after each validation; Lightning's checkpoints keep its state.

    Parameters
    ----------
    monitor
        The logged metric that `step` gets.
    mode
        "max" for a metric that rises as the model improves, "min" for one that falls; None: "min" if its name ends
        with "loss".
    until
        The share of the training's epochs or steps after which nothing is added: the cool-down. It knows nothing of
        the Trainer's `max_time`.
    """

    def __init__(
        self,
        practice: Practice,
        monitor: str = "val_acc",
        mode: Literal["max", "min"] | None = None,
        until: float = 0.8,
    ) -> None:
        self.practice, self.monitor, self.until = practice, monitor, until
        self.sign = sign_of(monitor, mode, until)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.enable_validation:
            warn_once("the Trainer does not validate: the practice adds nothing without validations")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if self.monitor not in trainer.callback_metrics:
            raise InputError(f"monitor = '{self.monitor}': logged are {', '.join(sorted(trainer.callback_metrics))}")
        epoch = trainer.current_epoch + (trainer.fit_loop.batch_idx + 1) / trainer.num_training_batches
        # A limit that is not set is -1.
        if max(epoch / (trainer.max_epochs or -1), trainer.global_step / trainer.max_steps) < self.until:
            self.practice.step(self.sign * float(trainer.callback_metrics[self.monitor]), pl_module)

    def state_dict(self) -> dict[str, Any]:
        return self.practice.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.practice.load_state_dict(state_dict)
