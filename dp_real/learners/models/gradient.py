"""The gradient of a training step: that of the mean loss over its rows, whichever processes compute them."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dp_real.runtime import processes
from dp_real.runtime.memory import attempt, too_small
from dp_real.runtime.seeds import Stream, torch_rng
from dp_real.runtime.shares import ParcelPart, StepShare

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function of x, y and offset that returns the mean loss over their rows."""


class PreparedRows(NamedTuple):
    """The rows of a parcel that this process trains on, ready for the module.

    x is [B, *sample_shape]. y is int64 [B], or float [B, K] if examples are mixed or have soft labels. offset is added
    to the logits: float [B, K], or zeros [B, 1].
    """

    part: ParcelPart
    x: Tensor
    y: Tensor
    offset: Tensor


class Piece(NamedTuple):
    """Rows that are computed together, and the position of their random draws within the step.

    The position is the place of the parcel. The first row follows it if that is not 0.
    """

    position: tuple[int, ...]
    x: Tensor
    y: Tensor
    offset: Tensor


class StepGradient:
    """Fills the gradients of a module for a training step.

    It also fills what the module's layers gather in training, such as the statistics of BatchNorm.

    The rows of a step are computed in pieces of as many rows as fit into memory, or `rows` at most if that is not 0.
    The gradients of the pieces are added up. The result is exact but for rounding. Rows influence each other in
    BatchNorm, and share a draw in dropout, which `seed` fixes. A module with such layers is computed parcel by parcel
    (see dp_real.runtime.shares). Then these layers do not depend on the number of processes either, if that number
    divides the parcels. What the layers gather is averaged over the pieces.

    There is no DistributedDataParallel. A process whose memory runs out computes its rows again, and the others must
    not have received anything of the first try.
    """

    def __init__(self, module: nn.Module, rows: int, seed: int) -> None:
        self.seed = seed
        self.most = rows or sys.maxsize
        self.parameters = [weight for weight in module.parameters() if weight.requires_grad]
        saved = module.state_dict()
        self.gathered = [buffer for name, buffer in module.named_buffers() if name in saved]
        self.has_dropout = any(_has_dropout(layer) for layer in module.modules())
        has_batch_norm = any(isinstance(layer, _NormBase) for layer in module.modules())
        self.by_parcel = self.has_dropout or has_batch_norm

    def fill(
        self, loss_of: Loss, prepare: Callable[[], list[PreparedRows]], share: StepShare, step: int
    ) -> Float[Tensor, ""]:
        """Fill the gradients of a step, and return the mean loss over all its rows.

        `loss_of` is the mean loss over the rows of a piece. `prepare` is called again if memory runs out. Dropout's
        draws are a function of `step`. Raises MissingError if not even one row fits into the GPU's memory, and
        RuntimeError if not even one can be computed, for reasons that need not be memory.
        """
        before = [buffer.clone() for buffer in self.gathered]
        loss = attempt(lambda: self._sum(loss_of, prepare(), share, step, before))
        while loss is None:  # memory ran out
            self._halve_pieces(share)
            loss = attempt(lambda: self._sum(loss_of, prepare(), share, step, before))
        if processes.this_process().num_processes > 1:
            self._add_up(loss)
        return loss

    def _halve_pieces(self, share: StepShare) -> None:
        """Make pieces half as large as those that were tried. Raises too_small if they had one row."""
        largest_part = max((part.own.stop - part.own.start for part in share.parts), default=1)
        tried = min(self.most, largest_part if self.by_parcel else share.rows)
        self.most = tried // 2
        if not self.most:
            raise too_small(
                "training on a single row needs more memory than the GPU has: training.precision = 'bfloat16', "
                "generator.offload = true or a smaller learner take less"
            )

    def _sum(
        self, loss_of: Loss, parts: list[PreparedRows], share: StepShare, step: int, before: list[Tensor]
    ) -> Tensor:
        """Return the weighted sum of the losses of this process's pieces, and fill its gradient.

        What the layers gather starts from `before` in each piece, and becomes the weighted sum over the pieces.
        """
        for parameter in self.parameters:  # as zero_grad does, which takes longer
            parameter.grad = None
        total = torch.zeros((), device=self.parameters[0].device)
        sums = [torch.zeros_like(buffer) for buffer in self.gathered]
        for position, x, y, offset in self._pieces(parts):
            _copy(before, self.gathered)
            if self.has_dropout:  # its draws must be a function of the position, too
                torch.manual_seed(torch_rng(self.seed, Stream.DROPOUT, step, *position).initial_seed())
            weight = share.weight(len(y))
            loss = loss_of(x, y, offset) * weight
            loss.backward()
            total += loss.detach()
            for buffer_sum, buffer in zip(sums, self.gathered, strict=True):
                if buffer.is_floating_point():
                    buffer_sum.add_(buffer, alpha=weight)
                else:  # a counter of steps, which is the same after each piece
                    buffer_sum.copy_(buffer)
        _copy(sums, self.gathered)
        return total

    def _pieces(self, parts: list[PreparedRows]) -> Iterator[Piece]:
        if not self.by_parcel and len(parts) > 1:
            x = torch.cat([part.x for part in parts])
            y = torch.cat([part.y for part in parts])
            offset = torch.cat([part.offset for part in parts])
            parts = [PreparedRows(parts[0].part, x, y, offset)]
        for part, x, y, offset in parts:
            for start in range(0, len(y), self.most):
                rows = slice(start, start + self.most)
                first = part.own.start + start
                position = (part.parcel, first) if first else (part.parcel,)
                yield Piece(position, x[rows], y[rows], offset[rows])

    def _add_up(self, loss: Tensor) -> None:
        """Add up the loss, the gradients and the floats that the layers gathered, in place, over the processes."""
        for parameter in self.parameters:
            if parameter.grad is None:  # this process has no rows, or no row's loss depends on the parameter
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        floats = [buffer for buffer in self.gathered if buffer.is_floating_point()]
        counters = [buffer for buffer in self.gathered if not buffer.is_floating_point()]
        processes.add_up([loss, *gradients, *floats])
        processes.copy_from_main(counters)


def _has_dropout(layer: nn.Module) -> bool:
    """Whether a layer drops anything at random. It does if one of its numbers that are named so is not 0."""
    is_dropout = "drop" in type(layer).__name__.lower()
    for name, value in vars(layer).items():
        is_rate = "drop" in name or (is_dropout and name == "p")
        if is_rate and isinstance(value, int | float) and value:
            return True
    return False


def _copy(values: Iterable[Tensor], tensors: Iterable[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
