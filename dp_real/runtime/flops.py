"""Counts FLOPs by torch's formulas, of matrix products, convolutions and attention, without element-wise work."""

from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Adds up the FLOPs of a block.

    torch's FlopCounterMode has hooks on modules that break torch.autograd.grad.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        formula = flop_registry.get(func.overloadpacket)
        if formula:
            self.total += formula(*args, **options, out_val=result)
        return result


def count(work: Callable[[], object]) -> int:
    """The FLOPs of doing `work` once; a multiplication and an addition are two."""
    # There are formulas for the matrix products of attention, but not for the fused kernels of all devices.
    with sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        work()
    return counter.total
