"""The gradient of a training step: that of the mean loss over its rows, of all processes."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dp_real import distributed
from dp_real.runtime.seeds import Stream, torch_rng

REMEDY = "training.precision = 'bfloat16', generator.offload = true or a smaller learner take less"
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function of x, y and offset that returns the mean loss over their rows."""


class PreparedRows(NamedTuple):
    """The rows of a step that this process trains on, ready for the module.

    x is [B, *sample_shape]. y is int64 [B], or float [B, K] if examples are mixed or have soft labels. offset is added
    to the logits: float [B, K], or zeros [B, 1].
    """

    x: Tensor
    y: Tensor
    offset: Tensor


class StepGradient:
    """Fills the gradients of a module for a training step, and what its layers gather, as BatchNorm does.

    Rows are computed in pieces of as many as fit into memory, which is found once. The gradients of the pieces, and of
    the processes, are added up: exact but for rounding. Layers see one piece at a time; what they gather is averaged
    over the processes. There is no DistributedDataParallel: a process whose memory runs out computes its rows again,
    and the others must not have received anything of the first try.
    """

    def __init__(self, module: nn.Module, seed: int) -> None:
        self.seed = seed
        self.most = sys.maxsize  # rows of a piece
        self.parameters = [weight for weight in module.parameters() if weight.requires_grad]
        saved = module.state_dict()
        self.gathered = [buffer for name, buffer in module.named_buffers() if name in saved]

    def fill(self, loss_of: Loss, prepare: Callable[[], PreparedRows], rows: int, step: int) -> Float[Tensor, ""]:
        """Fill the gradients of a step, and return the mean loss over the rows of all processes, `rows` of them here.

        `loss_of` is the mean loss over the rows of a piece. `prepare` is called again if memory runs out. Dropout's
        draws are a function of `step`. Raises as dp_real.distributed.halving does.
        """
        before = [buffer.clone() for buffer in self.gathered]
        most = max(1, min(self.most, rows))
        loss, fitted = distributed.halving(lambda most: self._sum(loss_of, prepare(), most, step, before), most, REMEDY)
        if fitted < most:
            self.most = fitted
        if distributed.this_process().num_processes > 1:
            self._add_up(loss, rows)
        return loss

    def _sum(self, loss_of: Loss, rows: PreparedRows, most: int, step: int, before: list[Tensor]) -> Tensor:
        """Return the mean loss of this process's rows, computed in pieces, and fill its gradient."""
        for parameter in self.parameters:  # as zero_grad does, which takes longer
            parameter.grad = None
        for buffer, value in zip(self.gathered, before, strict=True):
            buffer.copy_(value)
        rank = distributed.this_process().process_index
        total = torch.zeros((), device=self.parameters[0].device)
        for start in range(0, len(rows.y), most):
            x, y, offset = (each[start : start + most] for each in rows)
            position = (rank, start) if start else (rank,)
            torch.manual_seed(torch_rng(self.seed, Stream.DROPOUT, step, *position).initial_seed())
            loss = loss_of(x, y, offset) * (len(y) / len(rows.y))
            loss.backward()
            total += loss.detach()
        return total

    def _add_up(self, loss: Tensor, rows: int) -> None:
        """Make loss, gradients and what the layers gathered the means over the rows of all processes, in place."""
        for parameter in self.parameters:
            if parameter.grad is None:  # this process has no rows, or no row's loss depends on the parameter
                parameter.grad = torch.zeros_like(parameter)
        means = [loss, *(parameter.grad for parameter in self.parameters if parameter.grad is not None)]
        means += [buffer for buffer in self.gathered if buffer.is_floating_point()]
        count = torch.tensor(float(rows), device=loss.device)
        for mean in means:
            mean.mul_(rows)
        distributed.add_up([*means, count])
        for mean in means:
            mean.div_(count)
        distributed.copy_from_main(buffer for buffer in self.gathered if not buffer.is_floating_point())
