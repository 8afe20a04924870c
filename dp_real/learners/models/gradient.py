"""The gradient of a training step: of the mean loss over its rows, whoever computes them and in however many pieces."""

import sys
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dp_base.errors import MissingError
from dp_real.runtime import processes
from dp_real.runtime.memory import attempt
from dp_real.runtime.seeds import Stream, torch_rng
from dp_real.runtime.shares import Part, StepShare

Prepared = tuple[Part, Tensor, Tensor]
"""A part with its own rows, ready for the module: x [B, *sample_shape], and y int64 [B] or float [B, K]."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(x, y) -> the mean loss over the rows."""


class StepGradient:
    """Fills the gradients of a module, and what its layers gather in training, such as BatchNorm's statistics.

    A step's rows are computed in pieces of as many rows as fit, and the pieces' gradients are added up: exactly, but
    for rounding. Rows that influence each other, by BatchNorm, or that share a draw, by dropout, are computed parcel by
    parcel (dp_real.runtime.shares), so that these too are the same for any number of processes that divides the
    parcels. What the layers gather is averaged over the pieces.

    There is no DistributedDataParallel: a process whose memory runs out computes its rows again, and the others must
    not have heard of the first try.
    """

    def __init__(self, module: nn.Module, rows: int, seed: int) -> None:
        """rows: most of a piece; 0: as many as fit. seed: of dropout's draws."""
        self.seed = seed
        self.most = rows or sys.maxsize
        self.parameters = [weight for weight in module.parameters() if weight.requires_grad]
        saved = module.state_dict()
        self.gathered = [buffer for name, buffer in module.named_buffers() if name in saved]
        self.drops = any(map(_drops, module.modules()))
        self.apart = self.drops or any(isinstance(part, _NormBase) for part in module.modules())

    def fill(self, loss_of: Loss, prepare: Callable[[], list[Prepared]], share: StepShare, step: int) -> Tensor:
        """Fill the gradients; return the mean loss over the step. prepare(): this process's parts.

        Raises MissingError if not even one row fits into the GPU's memory.
        """
        before = [buffer.clone() for buffer in self.gathered]
        while (loss := attempt(lambda: self._sum(loss_of, prepare(), share, step, before))) is None:
            largest = max((part.own.stop - part.own.start for part in share.parts), default=1)
            self.most = min(self.most, largest if self.apart else share.rows) // 2
            if not self.most:
                raise MissingError(
                    "training on a single row needs more memory than the GPU has: training.precision = 'bfloat16', "
                    "generator.offload = true or a smaller learner take less"
                )
        if processes.this_process().num_processes > 1:
            self._add_up(loss)
        return loss

    def _sum(self, loss_of: Loss, parts: list[Prepared], share: StepShare, step: int, before: list[Tensor]) -> Tensor:
        """The weighted sum of the losses of this process's pieces, with its gradient and what the layers gathered."""
        for parameter in self.parameters:  # like zero_grad, without its bookkeeping
            parameter.grad = None
        total = torch.zeros((), device=self.parameters[0].device)
        sums = [torch.zeros_like(buffer) for buffer in self.gathered]
        for position, x, y in self._pieces(parts):
            _copy(before, self.gathered)
            if self.drops:  # its draws must be a function of the position, too
                torch.manual_seed(torch_rng(self.seed, Stream.DROPOUT, step, *position).initial_seed())
            weight = share.weight(len(y))
            loss = loss_of(x, y) * weight
            loss.backward()
            total += loss.detach()
            for sum_, buffer in zip(sums, self.gathered, strict=True):
                sum_.add_(buffer, alpha=weight) if buffer.is_floating_point() else sum_.copy_(buffer)
        _copy(sums, self.gathered)
        return total

    def _pieces(self, parts: list[Prepared]) -> Iterator[tuple[tuple[int, ...], Tensor, Tensor]]:
        """Rows to compute together, and the position of their draws: the parcel, and the first row if it is not 0."""
        if not self.apart and len(parts) > 1:
            parts = [(parts[0][0], torch.cat([x for _, x, _ in parts]), torch.cat([y for _, _, y in parts]))]
        for part, x, y in parts:
            for start in range(0, len(y), self.most):
                first = part.own.start + start
                rows = slice(start, start + self.most)
                yield (part.parcel, first) if first else (part.parcel,), x[rows], y[rows]

    def _add_up(self, loss: Tensor) -> None:
        """Add up over the processes, in place: the loss, the gradients, and the floats that the layers gathered."""
        for parameter in self.parameters:
            if parameter.grad is None:  # this process has no rows, or no row's loss depends on it
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        processes.add_up([loss, *gradients, *(each for each in self.gathered if each.is_floating_point())])
        processes.copy_from_main(each for each in self.gathered if not each.is_floating_point())


def _drops(part: nn.Module) -> bool:
    """Whether a layer drops anything at random: one of its numbers that are named so is not 0."""
    dropout = "drop" in type(part).__name__.lower()
    values = (value for name, value in vars(part).items() if "drop" in name or (dropout and name == "p"))
    return any(isinstance(value, int | float) and value for value in values)


def _copy(values: Iterable[Tensor], tensors: Iterable[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
