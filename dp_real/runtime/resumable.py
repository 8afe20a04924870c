"""The state of a training as tensors, and a loop that after a kill ends as an unbroken one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dp_base.checksums import damage, seal
from dp_base.files import atomic_folder, write_json
from dp_base.progress import progress
from dp_base.reading import read_json
from dp_real.runtime.computing import require_finite

OPTIMIZER = "optimizer"
EVERY = 200  # steps between saves; across such a step a loop must hold no other state
LOOKED_AT_EVERY = 100  # steps, since checking a loss waits for the device


@dataclass
class Resumable:
    """A training loop's optimizer. It saves the loop's state in `unfinished`; with damaged files the loop restarts.

    An error says that losses or weights of `what` are not finite, and the `remedy`.
    """

    what: str
    remedy: str
    modules: Mapping[str, nn.Module]
    optimizer: Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    draw: torch.Generator
    unfinished: Path | None = None

    def __post_init__(self) -> None:
        self.first = self.restore()  # finished steps

    def steps(self, total: int) -> Iterator[int]:
        """The remaining steps of `total`, from 0. Their progress is shown."""
        with progress(f"training {self.what}", total) as advance:
            advance(self.first)
            for step in range(self.first, total):
                yield step
                advance(1)
                done = step + 1
                if done % LOOKED_AT_EVERY == 0 or done == total:
                    require_finite(f"training {self.what}: step {done}: losses", self.remedy, [self.loss])
                if self.unfinished is not None and done % EVERY == 0 and done < total:
                    self.keep(self.unfinished, done)
        weights = (value for module in self.modules.values() for value in module.state_dict().values())
        require_finite(f"weights of {self.what}", self.remedy, weights)

    def backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.loss = loss.detach()

    def update(self, max_norm: float | None = None) -> None:
        """A step along the gradient, which is clipped to the norm `max_norm`."""
        if max_norm is not None:
            weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, max_norm)
        self.optimizer.step()
        self.lr_scheduler.step()

    def keep(self, folder: Path, step: int) -> None:
        with atomic_folder(folder, replace=True) as staged:
            tensors = state_tensors(self.modules, self.optimizer) | {"draw": self.draw.get_state()}
            save_file(tensors, staged / "state.safetensors")
            groups = self.optimizer.state_dict()["param_groups"]
            state = {"step": step, "groups": groups, "schedule": self.lr_scheduler.state_dict()}
            write_json(staged / "state.json", state)
            seal(staged)

    def restore(self) -> int:
        """Restore the saved state; returns the finished steps."""
        if self.unfinished is None or not self.unfinished.exists() or damage(self.unfinished):
            return 0
        state = read_json(self.unfinished / "state.json")
        tensors = load_file(self.unfinished / "state.safetensors")
        load_state_tensors(tensors, self.modules, self.optimizer, state["groups"])
        self.lr_scheduler.load_state_dict(state["schedule"])
        self.draw.set_state(tensors["draw"])
        return state["step"]


def state_tensors(modules: Mapping[str, nn.Module], optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of named modules and their optimizer."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}.{index}.{slot}": value for slot, value in slots.items()}
    return storable(tensors)


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in safetensors's form: contiguous, tied weights as copies."""
    first: dict[int, str] = {}
    return {
        name: value.contiguous() if first.setdefault(value.data_ptr(), name) == name else value.clone()
        for name, value in tensors.items()
    }


def load_state_tensors(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimizer: Optimizer,
    groups: list[dict[str, Any]] | None = None,
) -> None:
    """Restore `state_tensors`, and the optimizer's param_groups if given."""
    for name, module in modules.items():
        module.load_state_dict(_below(f"{name}.", tensors))
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(f"{OPTIMIZER}.", tensors).items():
        index, slot = name.split(".", 1)
        if value.dim():
            # The fused optimizer needs averages and weights in the same memory order.
            value = torch.empty_like(parameters[int(index)]).copy_(value)
        slots.setdefault(int(index), {})[slot] = value
    state = optimizer.state_dict() | {"state": slots}
    optimizer.load_state_dict(state | {"param_groups": groups} if groups else state)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
