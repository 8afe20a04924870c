"""What the caller's program has set in torch, put aside while something is computed here."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dp_real.runtime import distributed


@contextmanager
def usual(
    gradients: bool = False, module: nn.Module | None = None, device: torch.device | None = None
) -> Iterator[None]:
    """Compute in float32 outside of inference mode and autocast, with or without gradients; then all is as before.

    `module` is in evaluation mode meanwhile. A device other than the process's own is to be named.
    """
    kind = (device or distributed.device()).type
    modes = [(part, part.training) for part in module.modules()] if module else []
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        for part, _ in modes:
            part.training = False
        with torch.inference_mode(False), torch.set_grad_enabled(gradients), torch.autocast(kind, enabled=False):
            yield
    finally:
        torch.set_default_dtype(default)
        for part, mode in modes:
            part.training = mode
