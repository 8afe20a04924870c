"""Sets aside the caller's torch settings while something is computed here."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def usual(gradients: bool = False, module: nn.Module | None = None) -> Iterator[None]:
    """Compute in float32 without inference mode and autocast, with or without gradients; then restore all settings.

    Within the block `module` is in evaluation mode.
    """
    with ExitStack() as at_end:
        at_end.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        for part in module.modules() if module else ():
            at_end.callback(setattr, part, "training", part.training)
            part.training = False
        at_end.enter_context(torch.inference_mode(False))
        at_end.enter_context(torch.set_grad_enabled(gradients))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                at_end.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def seeded(seed: int, module: nn.Module | None = None) -> Iterator[None]:
    """As `usual`, with gradients, on the CPU by default, and with random numbers from `seed`."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with usual(gradients=True, module=module), torch.random.fork_rng(devices), ExitStack() as at_end:
        if torch.get_default_device().type != "cpu":
            at_end.enter_context(torch.device("cpu"))
        torch.manual_seed(seed)
        yield
