"""Sets aside the caller's torch settings while something is computed here."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.distributed import get_world_size
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel

from dp_base.errors import InputError


@contextmanager
def usual(gradients: bool = False) -> Iterator[None]:
    """Compute in float32 without inference mode and autocast, with or without gradients; then restore all settings.

    InputError for weights that were made in inference mode, if gradients pass through them.
    """
    with ExitStack() as at_end:
        at_end.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        at_end.enter_context(torch.inference_mode(False))
        at_end.enter_context(torch.set_grad_enabled(gradients))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                at_end.enter_context(torch.autocast(kind, enabled=False))
        try:
            yield
        except RuntimeError as error:
            if not str(error).startswith("Inference tensors cannot be saved"):
                raise
            raise InputError("no gradient passes through a model loaded in inference mode: load it outside") from error


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the block a module, or all that a function calls, are in evaluation mode; then restore their modes.

    InputError for a module that waits for the other processes at each call.
    """
    model = getattr(model, "__self__", model)  # of a method
    seen = set[nn.Module]()  # the hook is called for each part, too
    own = get_ident()  # and for what other threads train
    with ExitStack() as at_end:

        def evaluate(module: nn.Module, inputs: Any = None) -> None:
            if get_ident() != own or (module in seen and not getattr(module, "training", False)):
                return
            for part in module.modules():
                seen.add(part)
                is_parallel = isinstance(part, DistributedDataParallel) and get_world_size(part.process_group) > 1
                if is_parallel and part.will_sync_module_buffers():
                    raise InputError("DistributedDataParallel waits for other processes at each call: call its .module")
                if getattr(part, "training", False):  # a frozen script has no mode
                    at_end.callback(setattr, part, "training", True)
                    part.training = False

        if isinstance(model, nn.Module):
            evaluate(model)
        else:
            at_end.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Using `torch.compile|Dynamo does")  # whose modules call the hook, too
            at_end.callback(register_module_forward_pre_hook(evaluate).remove)
        yield


@contextmanager
def usual_seeded(seed: int) -> Iterator[None]:
    """As `usual`, with gradients, on the CPU by default, and with random numbers from `seed`."""
    gpus = range(torch.cuda.device_count())  # torch.manual_seed seeds them all
    with usual(gradients=True), torch.random.fork_rng(gpus), ExitStack() as at_end:
        if torch.get_default_device().type != "cpu":
            at_end.enter_context(torch.device("cpu"))
        torch.manual_seed(seed)
        yield
