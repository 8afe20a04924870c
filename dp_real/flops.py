"""FLOPs by torch's own formulas: matrix products, convolutions and attention; element-wise work is left out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dp_real.learners.network import NetworkLearner
from dp_real.protocols import Learner


class FlopCounter(TorchDispatchMode):
    """Adds up what runs within. torch's FlopCounterMode hooks into modules, and then refuses torch.autograd.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        self.total += formula(*args, **(kwargs or {}), out_val=result) if formula else 0
        return result


def count(work: Callable[[], object]) -> int:
    """FLOPs of doing it once; a multiplication and an addition are two."""
    # There are formulas for the matrix products of attention, but not for the fused kernel of every device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        work()
    return counter.total


def training_flops(learner: Learner, sample_shape: Sequence[int]) -> int:
    """Of one row of a training step, forward and backward; 0 for a learner that is no network.

    Measured in eval mode, which leaves everything as it was.
    """
    if not isinstance(learner, NetworkLearner):
        return 0
    weights = [weight for weight in learner.in_use.parameters() if weight.requires_grad]

    def step() -> tuple[Tensor | None, ...]:
        logits = learner.logits(torch.zeros(1, *sample_shape))
        label = torch.zeros(1, dtype=torch.int64, device=logits.device)
        return torch.autograd.grad(F.cross_entropy(logits, label), weights, allow_unused=True)

    return count(step)
