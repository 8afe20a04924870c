"""FLOPs by torch's own formulas: matrix products, convolutions and attention; element-wise work is left out."""

from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Adds up the FLOPs of the block. Not torch's FlopCounterMode: its hooks on modules break torch.autograd.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        self.total += formula(*args, **(kwargs or {}), out_val=result) if formula else 0
        return result


def count(work: Callable[[], object]) -> int:
    """FLOPs of doing `work` once. A multiplication and an addition are two."""
    # There are formulas for the matrix products of attention, but not for the fused kernels of all devices.
    with sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        work()
    return counter.total
