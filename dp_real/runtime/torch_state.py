"""Sets aside the caller's torch settings while something is computed here."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def usual(gradients: bool = False, model: Any = None) -> Iterator[None]:
    """Compute in float32 without inference mode and autocast, with or without gradients; then restore all settings.

    Within the block `model` is in evaluation mode: a module, or those that a function names or is a method of.
    """
    with ExitStack() as at_end:
        at_end.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        for module in modules_of(model):
            for part in module.modules():
                if getattr(part, "training", False):  # a frozen script has no mode
                    at_end.callback(setattr, part, "training", True)
                    part.training = False
        at_end.enter_context(torch.inference_mode(False))
        at_end.enter_context(torch.set_grad_enabled(gradients))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                at_end.enter_context(torch.autocast(kind, enabled=False))
        yield


def modules_of(model: Any) -> list[nn.Module]:
    """A module, or those that a function names or is a method of."""
    named = [model, getattr(model, "__self__", None)]
    if inspect.isfunction(model):
        seen = inspect.getclosurevars(model)
        named += [*seen.nonlocals.values(), *seen.globals.values()]
    return [each for each in named if isinstance(each, nn.Module)]


@contextmanager
def seeded(seed: int, model: Any = None) -> Iterator[None]:
    """As `usual`, with gradients, on the CPU by default, and with random numbers from `seed`."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with usual(gradients=True, model=model), torch.random.fork_rng(devices), ExitStack() as at_end:
        if torch.get_default_device().type != "cpu":
            at_end.enter_context(torch.device("cpu"))
        torch.manual_seed(seed)
        yield
