"""Counts FLOPs by torch's formulas, of matrix products, convolutions and attention, without element-wise work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {  # torch has no formula for a CPU's fused attention
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}


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
