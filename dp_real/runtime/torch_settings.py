"""Torch's switches and random numbers, which belong to the program that calls."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_torch(seed: int) -> Iterator[None]:
    """Gradients, autocast, default dtype and device are as usual, random numbers follow from `seed`.

    Afterwards all are as the caller had them.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    with ExitStack() as at_end:
        at_end.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        usual = [torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices)]
        usual += [torch.autocast(kind, enabled=False) for kind in kinds]
        usual += [torch.device("cpu")] if torch.get_default_device().type != "cpu" else []
        for each in usual:
            at_end.enter_context(each)
        torch.manual_seed(seed)
        yield
