import sys
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from dp_real.runtime.distributed import halving

REMEDY = "generator.checkpointing, generator.tiny_decoder, guidance.through = 'x0' or dtype = 'bfloat16' take less"
FIRST = 8  # rows in the first attempt on a GPU


class DeviceBatches:
    """Draws rows in device batches, whose size changes the rows by rounding only.

    Size 0 means as many rows as fit, found by doubling; on a CPU all rows, since running out of memory ends the
    process.
    """

    def __init__(self, size: int, gpu: bool) -> None:
        self._grows = size == 0 and gpu
        self._first = size or (FIRST if gpu else sys.maxsize)
        self.fitting: dict[Hashable, tuple[int, bool]] = {}  # rows that fit, and whether more may fit

    def draw(self, rows: int, work: Callable[[slice], Tensor], kind: Hashable = None) -> Tensor:
        """work(slice(0, rows)) in parts, whose size depends on the `kind` of work."""
        size, grows = self.fitting.get(kind, (self._first, self._grows))
        parts: list[Tensor] = []
        start = 0
        while start < rows:
            size_now = min(size, rows - start)
            part, fitted = halving(lambda n: work(slice(start, start + n)), size_now, REMEDY)  # noqa: B023
            parts.append(part)
            start += fitted
            if fitted < size_now:
                size, grows = fitted, False
            elif grows and size_now == size:
                size *= 2
            self.fitting[kind] = size, grows
        return torch.cat(parts)
