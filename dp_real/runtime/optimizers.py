"""The state of modules and of an optimizer as named tensors, which safetensors can keep."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OPTIMIZER = "optimizer"


def state_tensors(modules: Mapping[str, nn.Module], optimizer: Optimizer) -> dict[str, Tensor]:
    """What training changes in named modules and their optimizer."""
    found = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        found |= {f"{OPTIMIZER}.{index}.{slot}": value for slot, value in slots.items()}
    return {name: value.contiguous() for name, value in found.items()}


def load_state_tensors(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimizer: Optimizer,
    groups: list[dict[str, Any]] | None = None,
) -> None:
    """Restore what `state_tensors` returned, and the optimizer's param_groups if they are given."""
    for name, module in modules.items():
        module.load_state_dict(_below(f"{name}.", tensors))
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(f"{OPTIMIZER}.", tensors).items():
        index, slot = name.split(".", 1)
        if value.dim():
            # The fused optimizer reads averages and weights in the order of memory, which must be the same.
            value = torch.empty_like(parameters[int(index)]).copy_(value)
        slots.setdefault(int(index), {})[slot] = value
    state = optimizer.state_dict() | {"state": slots}
    optimizer.load_state_dict(state | {"param_groups": groups} if groups else state)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
