"""The learner of all kinds that are networks: it trains a torch module, averages its weights and computes logits."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers.optimization import get_wsd_schedule

from dp_real.examples import Task
from dp_real.learners.models.augment import crop_and_flip, mix
from dp_real.learners.models.gradient import Prepared, StepGradient
from dp_real.learners.models.randaugment import RandAugment
from dp_real.runtime import processes
from dp_real.runtime.flops import count
from dp_real.runtime.pixels import fit, to_float
from dp_real.runtime.seeds import Stream, rng, seeded, torch_rng
from dp_real.runtime.shares import StepShare
from dp_real.sections import TrainingConfig


class NetworkLearner:
    """Trains a module on batches. With an EMA (paper App. D), the averaged weights compute `logits`."""

    def __init__(
        self, module: nn.Module, task: Task, config: TrainingConfig, seed: int, device: torch.device | None = None
    ) -> None:
        """module: [B, *sample_shape] -> logits [B, n_classes]. seed: of all that training draws, except the batches."""
        self.device: torch.device = device or processes.device()
        # Convolutions are faster so.
        self.module = convert_conv2d_weight_memory_format(module.to(self.device), torch.channels_last)
        processes.copy_from_main(self.module.state_dict().values())  # they are alike already, unless a file is not
        self.config = config
        drawn = config.randaugment
        self.randaugment = RandAugment(drawn, config.randaugment_magnitude) if drawn else None
        self.task = task
        self.seed = seed
        self.parameters = list(self.module.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.forward = torch.compile(self.module) if config.compile else self.module
        self.gradient = StepGradient(self.module, config.rows_per_device, seed)
        self.ema = deepcopy(self.module).requires_grad_(False) if config.ema_decay else None
        self.step = 0
        self.finish_at(config.steps)
        self.losses: list[Tensor] = []  # since the last drain

    @classmethod
    def fresh(cls, build: Callable[[Task], nn.Module | None], task: Task, training: TrainingConfig, seed: int) -> Self:
        """A learner with the module that `build` makes for a task. Its weights are a function of the seed alone."""
        with seeded(torch_rng(seed, Stream.LEARNER_INIT)):
            module = build(task)
        assert module is not None, "a kind of learner without a network has a `fresh` of its own"
        return cls(module, task, training, seed)

    def logits(self, x: Tensor) -> Tensor:
        """See Learner. The weights are those in use."""
        return self.in_use.eval()(self._view(x.to(self.device)))

    def train_step(self, x: Tensor, y: Tensor, share: StepShare | None = None) -> None:
        """One AdamW step on the mean cross-entropy over the step's rows. See Learner.

        Raises MissingError if not even one row fits into the GPU's memory.
        """
        share = share or StepShare.whole(len(y), processes.this_process().num_processes)
        if not self.module.training:  # train() walks all layers
            self.module.train()
        loss = self.gradient.fill(self._loss, lambda: self._prepared(x, y, share), share, self.step)
        if self.config.max_grad_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        if self.ema is not None:
            self._average(self.ema)
        self.losses.append(loss)

    def _average(self, ema: nn.Module) -> None:
        """Average like AveragedModel, from the weights after the first step on, but without waiting for the device."""
        decay = self.config.ema_decay if self.step > 1 else 0.0
        get_ema_multi_avg_fn(decay)([*ema.parameters()], [*self.parameters], 0)
        for average, latest in zip(ema.buffers(), self.module.buffers(), strict=True):
            average.copy_(latest)

    def _prepared(self, x: Tensor, y: Tensor, share: StepShare) -> list[Prepared]:
        """This process's parts of the step. Each parcel is augmented whole; then the rows of others are dropped."""
        x, y = to_float(x.to(self.device, non_blocking=True)), y.to(self.device, non_blocking=True)
        prepared = []
        for part in share.parts:
            rows, targets = self._augmented(x[part.rows], y[part.rows], part.parcel)
            prepared.append((part, rows[part.own], targets[part.own]))
        return prepared

    def _augmented(self, x: Tensor, y: Tensor, parcel: int) -> tuple[Tensor, Tensor]:
        """A parcel, augmented as configured, at the module's size. y becomes [B, K] if examples are mixed."""
        options, position, size = self.config, (self.step, parcel), self.task.sample_shape[1:]
        if options.crop or options.flip:
            crop = rng(self.seed, Stream.CROP, *position)
            x = crop_and_flip(x, crop, least_area=options.crop, flip=options.flip, size=size)
        x = self._view(x)
        if self.randaugment:
            x = self.randaugment(x, torch_rng(self.seed, Stream.RANDAUGMENT, *position))
        if options.mixup or options.cutmix:
            y = F.one_hot(y, self.task.n_classes).float() if y.dim() == 1 else y
            x, y = mix(x, y, rng(self.seed, Stream.MIX, *position), mixup=options.mixup, cutmix=options.cutmix)
        return x, y

    def _view(self, x: Tensor) -> Tensor:
        """Examples as the module takes them: images of a pool that keeps larger ones are resized."""
        return x if x.shape[1:] == self.task.sample_shape or x.dim() != 4 else fit(x, self.task.sample_shape)

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy of rows that are computed together."""
        return F.cross_entropy(self._forward(x), y, label_smoothing=self.config.label_smoothing)

    def _forward(self, x: Tensor) -> Tensor:
        if self.config.precision == "float32":
            return self.forward(x)
        with torch.autocast(self.device.type, getattr(torch, self.config.precision)):
            return self.forward(x).float()

    @property
    def precision(self) -> str:
        """See Learner."""
        return self.config.precision

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """See Learner. Counted in eval mode, so that nothing changes."""
        weights = [weight for weight in self.parameters if weight.requires_grad]

        def step() -> tuple[Tensor | None, ...]:
            logits = self.module.eval()(torch.zeros(1, *sample_shape, device=self.device))
            label = torch.zeros(1, dtype=torch.int64, device=self.device)
            return torch.autograd.grad(F.cross_entropy(logits, label), weights, allow_unused=True)

        return count(step)

    def drain_loss(self) -> float:
        """Mean training loss since the last call. This waits for the device; train_step does not."""
        mean = torch.stack(self.losses).mean().item()
        self.losses.clear()
        return mean

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, as tensors by name; `load_tensors` restores it."""
        state = {"losses": torch.stack(self.losses) if self.losses else torch.empty(0)}
        state |= {f"module.{name}": value for name, value in self.module.state_dict().items()}
        if self.ema is not None:
            state |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        return {name: value.contiguous() for name, value in state.items()}

    @property
    def in_use(self) -> nn.Module:
        """The module whose weights are in use: the average, if there is one."""
        return self.module if self.ema is None else self.ema

    def save(self, folder: Path) -> None:
        """Write model.safetensors, the weights in use."""
        weights = {name: value.contiguous() for name, value in self.in_use.state_dict().items()}
        save_file(weights, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        """See Learner."""
        self.in_use.load_state_dict(load_file(folder / "model.safetensors"))

    def load_tensors(self, state: Mapping[str, Tensor], step: int) -> None:
        """See Learner."""
        self.losses = list(state["losses"].to(self.device))
        self.module.load_state_dict(_below("module.", state))
        if self.ema is not None:
            self.ema.load_state_dict(_below("ema.", state))
        slots: dict[int, dict[str, Any]] = {}
        for name, value in _below("optimizer.", state).items():
            index, slot = name.split(".", 1)
            weight = self.parameters[int(index)]
            # The fused optimizer reads both in the order of memory.
            slots.setdefault(int(index), {})[slot] = torch.empty_like(weight).copy_(value) if value.dim() else value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": slots})
        self.step = step
        self.finish_at(self.config.steps)

    def finish_at(self, last_step: int) -> None:
        """Set the WSD schedule (paper App. D): linear warm-up, constant, cosine cool-down that ends at last_step."""
        self.schedule = get_wsd_schedule(
            self.optimizer,
            num_warmup_steps=self.config.warmup_steps,
            num_decay_steps=self.config.cooldown_steps,
            num_training_steps=last_step,
            last_epoch=self.step - 1,
        )


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
