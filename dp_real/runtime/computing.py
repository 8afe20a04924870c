"""What surrounds a computation: torch's settings before it, FLOPs during it, and checks of its numbers afterwards."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dp_base.errors import DivergedError, InputError

aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {  # torch has no formula for a CPU's fused attention
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}
# For texts (False) and numbers (True): the share of a block that may be useless, and how often a sample is redrawn.
# Language models refuse some prompts.
TOLERATED = {True: (0.1, 3), False: (0.5, 10)}
LEARNER_REMEDY = (
    "lower the learning rate or weight decay, or clip gradients "
    "(of a run: training.learning_rate, training.weight_decay, training.max_grad_norm)"
)
"""The remedy if a learner's numbers are not finite."""


# before: the caller's settings are set aside


@contextmanager
def default_modes(gradients: bool = False) -> Iterator[None]:
    """Compute in float32 without inference mode and autocast, with or without gradients; then restore all settings."""
    with ExitStack() as at_end:
        at_end.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        at_end.enter_context(torch.inference_mode(False))
        at_end.enter_context(torch.set_grad_enabled(gradients))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                at_end.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def eval_mode(model: Any) -> Iterator[None]:
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
def seeded_default_modes(seed: int) -> Iterator[None]:
    """As `default_modes`, with gradients, on the CPU by default, and with random numbers from `seed`."""
    gpus = range(torch.cuda.device_count())  # torch.manual_seed seeds them all
    with default_modes(gradients=True), torch.random.fork_rng(gpus), ExitStack() as at_end:
        if torch.get_default_device().type != "cpu":
            at_end.enter_context(torch.device("cpu"))
        torch.manual_seed(seed)
        yield


# during: FLOPs by torch's formulas, of matrix products, convolutions and attention, without element-wise work


class FlopCounter(TorchDispatchMode):
    """Sums the FLOPs of a block.

    The module hooks of torch's FlopCounterMode break torch.autograd.grad.
    """

    pauses: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        formula = FORMULAS.get(func.overloadpacket)
        if formula and not FlopCounter.pauses:
            self.total += formula(*args, **options, out_val=result)
        return result


@contextmanager
def uncounted() -> Iterator[None]:
    """Do not count the block's FLOPs: its results are reused, so they are no cost of a sample."""
    FlopCounter.pauses += 1
    try:
        yield
    finally:
        FlopCounter.pauses -= 1


def count(work: Callable[[], object]) -> int:
    """The FLOPs of work(). A multiplication and an addition are two; attention counts as its products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        work()
    return counter.total


# after: not in every step of a loop, since this waits for the device


def require_finite(what: str, remedy: str, values: Iterable[Tensor]) -> None:
    """Raise DivergedError, "`what` … `remedy`", unless all are finite."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise DivergedError(f"{what} are not finite: {remedy}")


def require_samples(samples: Tensor, what: str, remedy: str) -> None:
    """Raise DivergedError, "`what` … `remedy`", if a sample has one of the `faults`."""
    for fault, bad in faults(samples).items():
        if bad.any():
            raise DivergedError(f"{what}: {int(bad.sum())} of {len(samples)} samples are {fault}: {remedy}")


def faults(samples: Tensor) -> dict[str, Tensor]:
    """Which samples have each fault, bool [B]: codes all zero, numbers not finite, images of one value."""
    rows = samples.flatten(1)
    if not samples.is_floating_point():
        return {"empty": (rows == 0).all(1)}
    is_image = samples.dim() == 4 and samples.shape[2:].numel() > 1
    constant = (rows == rows[:, :1]).all(1) if is_image else torch.zeros(len(rows), dtype=torch.bool)
    return {"not finite": ~rows.isfinite().all(1), "of one value throughout": constant}


def unusable(samples: Tensor) -> Tensor:
    """Which samples have any fault, bool [B]."""
    return torch.stack([*faults(samples).values()]).any(0)
