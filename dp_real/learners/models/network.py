import math
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from jaxtyping import Float, Shaped
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dp_real.data.examples import Task
from dp_real.learners.models.augment import Augmentation
from dp_real.learners.section import TrainingConfig
from dp_real.runtime import distributed
from dp_real.runtime.computing import count
from dp_real.runtime.pixels import fit, to_float
from dp_real.runtime.resumable import load_state_tensors, state_tensors, storable
from dp_real.runtime.seeds import Stream, seed_layers, seeded, torch_rng

REMEDY = "training.precision = 'bfloat16' or a smaller learner take less"


class NetworkLearner:
    """Trains a module on batches; logits are those of averaged weights, if any.

    `seed` determines all random numbers of training but the batches.
    """

    def __init__(
        self, module: nn.Module, task: Task, config: TrainingConfig, seed: int, device: torch.device | None = None
    ) -> None:
        self.device = device or distributed.device()
        self.task = task
        self.config = config
        self.seed = seed
        # Convolutions are faster in this memory format.
        self.module = convert_conv2d_weight_memory_format(module.to(self.device), torch.channels_last)
        # The processes have equal weights already, unless their files differ.
        distributed.copy_from_main(self.module.state_dict().values())
        self.augmentation = Augmentation(task, config, seed)
        self.parameters = list(self.module.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.forward = torch.compile(self.module) if config.compile else self.module
        self.trainable_parameters = [weight for weight in self.parameters if weight.requires_grad]
        self.microbatch_size = sys.maxsize  # rows that go through the module together
        self.has_batch_norm = any(isinstance(part, _BatchNorm) for part in self.module.modules())
        saved = self.module.state_dict()
        self.persistent_buffers = [buffer for name, buffer in self.module.named_buffers() if name in saved]
        self.ema = deepcopy(self.module).requires_grad_(False) if config.ema_decay else None
        self.modules = {"module": self.module} | ({} if self.ema is None else {"ema": self.ema})
        self.step = 0
        self.norm: Tensor | None = None  # of the last step's gradient, if it was computed
        self.losses: list[Tensor] = []  # of each step since the last call of drain_loss
        self.finish_at(config.steps)

    @classmethod
    def fresh(cls, build: Callable[[Task], nn.Module | None], task: Task, training: TrainingConfig, seed: int) -> Self:
        """`build` draws the weights from torch's random state."""
        with seeded(torch_rng(seed, Stream.LEARNER_INIT)):
            module = build(task)
        assert module is not None, "a kind of learner without a network defines its own `fresh`"
        return cls(module, task, training, seed)

    def logits(self, x: Shaped[Tensor, "batch *stored"]) -> Float[Tensor, "batch classes"]:
        return self.eval_module.eval()(fit(x.to(self.device, copy=True), self.task.sample_shape))

    def train_step(
        self,
        x: Shaped[Tensor, "batch *stored"],
        y: Shaped[Tensor, "batch *classes"],
        offset: Float[Tensor, "batch classes"] | None = None,
    ) -> None:
        """One AdamW step on the mean cross-entropy over these rows and other processes'.

        `offset` is added to the logits; a mixed row gets that of its first row.
        """
        if not self.module.training:  # train() walks through all layers, which takes time
            self.module.train()
        loss = self._fill_gradients(x, y, offset)
        if self.config.max_grad_norm:
            self.norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.step += 1
        if self.ema is not None:
            # Torch's AveragedModel, which also begins at the first step, would wait for the device.
            decay = self.config.ema_decay if self.step > 1 else 0.0
            get_ema_multi_avg_fn(decay)([*self.ema.parameters()], [*self.parameters], 0)
            for average, latest in zip(self.ema.buffers(), self.module.buffers(), strict=True):
                average.copy_(latest)
        self.losses.append(loss)

    def _fill_gradients(self, x: Tensor, y: Tensor, offset: Tensor | None) -> Float[Tensor, ""]:
        """Fill the gradients of the mean loss over all processes' rows, and return that loss.

        They are summed over processes, and over micro-batches that fit into memory, exactly but for rounding and
        what dropout draws. A process's rows stay together if BatchNorm mixes them, but not those of all processes.
        DistributedDataParallel cannot do this: when memory runs out, a process computes again, having sent nothing.
        """
        before = [buffer.clone() for buffer in self.persistent_buffers]
        microbatch_size = max(1, min(self.microbatch_size, len(y)))
        min_size = microbatch_size if self.has_batch_norm else 1
        loss, fitted = distributed.halving(
            lambda size: self._add_microbatches(x, y, offset, size, before), microbatch_size, REMEDY, min_size
        )
        if fitted < microbatch_size:
            self.microbatch_size = fitted
        if distributed.this_process().num_processes > 1:
            self._add_processes(loss, len(y))
        return loss

    def _add_microbatches(self, x: Tensor, y: Tensor, offset: Tensor | None, size: int, before: list[Tensor]) -> Tensor:
        """Sum the gradients over micro-batches. Dropout is a function of step, process and micro-batch."""
        for parameter in self.parameters:  # like zero_grad, which is slower
            parameter.grad = None
        for buffer, value in zip(self.persistent_buffers, before, strict=True):
            buffer.copy_(value)
        rank = distributed.this_process().process_index
        x = to_float(x.to(self.device, non_blocking=True))
        y = y.to(self.device, non_blocking=True)
        offset = torch.zeros(len(y), 1) if offset is None else offset
        if len(y):  # a process may have no rows
            x, y = self.augmentation(x, y, self.step, rank)
        rows = x, y, offset.to(self.device, non_blocking=True)
        total = torch.zeros((), device=self.device)
        for start in range(0, len(y), size):
            microbatch = [each[start : start + size] for each in rows]
            position = (rank, start) if start else (rank,)
            seed_layers(torch_rng(self.seed, Stream.DROPOUT, self.step, *position), self.device)
            loss = self._loss(*microbatch) * (len(microbatch[0]) / len(y))
            loss.backward()
            total += loss.detach()
        return total

    def _add_processes(self, loss: Tensor, rows: int) -> None:
        for parameter in self.trainable_parameters:
            if parameter.grad is None:  # this process has no rows, or no row's loss depends on the parameter
                parameter.grad = torch.zeros_like(parameter)
        means = [loss, *(parameter.grad for parameter in self.trainable_parameters if parameter.grad is not None)]
        means += [buffer for buffer in self.persistent_buffers if buffer.is_floating_point()]
        count = torch.tensor(float(rows), device=loss.device)
        for mean in means:
            mean.mul_(rows)
        distributed.all_reduce([*means, count])
        for mean in means:
            mean.div_(count)
        distributed.copy_from_main(buffer for buffer in self.persistent_buffers if not buffer.is_floating_point())

    def _loss(self, x: Tensor, y: Tensor, offset: Tensor) -> Tensor:
        return F.cross_entropy(self._forward(x) + offset, y, label_smoothing=self.config.label_smoothing)

    def _forward(self, x: Tensor) -> Tensor:
        dtype = getattr(torch, self.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return self.forward(x).float()

    @property
    def precision(self) -> str:
        return self.config.precision

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """FLOPs of a row, counted in evaluation mode, which changes nothing."""

        def compute_gradient() -> tuple[Tensor | None, ...]:
            logits = self.module.eval()(torch.zeros(1, *sample_shape, device=self.device))
            label = torch.zeros(1, dtype=torch.int64, device=self.device)
            return torch.autograd.grad(F.cross_entropy(logits, label), self.trainable_parameters, allow_unused=True)

        return count(compute_gradient)

    def drain_loss(self) -> float:
        """The mean loss since the last call. Unlike train_step, this waits for the device."""
        mean = torch.stack(self.losses).mean().item()
        self.losses.clear()
        return mean

    def gradient_norm(self) -> float:
        """The gradient's norm before clipping. This waits for the device."""
        if self.norm is not None:
            return float(self.norm)
        return float(nn.utils.get_total_norm(weight.grad for weight in self.parameters if weight.grad is not None))

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    @property
    def eval_module(self) -> nn.Module:
        """The averaged weights, if there are any."""
        return self.module if self.ema is None else self.ema

    def tensors(self) -> dict[str, Tensor]:
        losses = torch.stack(self.losses) if self.losses else torch.empty(0)
        return {"losses": losses} | state_tensors(self.modules, self.optimizer)

    def load_tensors(self, state: Mapping[str, Tensor], step: int) -> None:
        self.losses = list(state["losses"].to(self.device))
        load_state_tensors(state, self.modules, self.optimizer)
        self.step = step
        self.finish_at(self.config.steps)

    def save(self, folder: Path) -> None:
        save_file(storable(self.eval_module.state_dict()), folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        self.eval_module.load_state_dict(load_file(folder / "model.safetensors"))

    def finish_at(self, last_step: int) -> None:
        warmup, cooldown = self.config.warmup_steps, self.config.cooldown_steps
        factor = partial(rate_factor, warmup=warmup, cooldown=cooldown, last=last_step)
        self.lr_scheduler = LambdaLR(self.optimizer, factor, last_epoch=self.step - 1)


class PretrainedLearner(NetworkLearner):
    """A learner whose module saves and loads itself, in the form of other libraries."""

    def save(self, folder: Path) -> None:
        cast(Any, self.eval_module).save(folder, self.task)

    def load(self, folder: Path) -> None:
        cast(Any, self.eval_module).load(folder)


def rate_factor(step: int, *, warmup: int, cooldown: int, last: int) -> float:
    """The learning rate over its constant one (paper App. D), as transformers' get_wsd_schedule, whose import is slow.

    A branch that starts in warm-up cools down from the rate reached there.
    """
    reached = min(step, last - cooldown)
    rate = reached / warmup if reached < warmup else 1.0
    cooled = (step - reached) / max(1, cooldown)
    return rate * 0.5 * (1 + math.cos(math.pi * cooled)) if step < last else 0.0
