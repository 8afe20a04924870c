import sys
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from dp_real.runtime.distributed import halving

REMEDY = "generator.checkpointing, generator.tiny_decoder, guidance.through = 'x0' or dtype = 'bfloat16' take less"


class DeviceBatches:
    """Draws rows in device batches, whose size changes the rows by rounding only.

    Size 0 means all rows. The size is halved while a GPU's memory runs out.
    """

    def __init__(self, size: int) -> None:
        self.size = size or sys.maxsize
        self.fitting: dict[Hashable, int] = {}  # the size, once it was halved

    def draw(self, rows: int, work: Callable[[slice], Tensor], kind: Hashable = None) -> Tensor:
        """work(slice(0, rows)) in parts, whose size depends on the `kind` of work."""
        parts: list[Tensor] = []
        start = 0
        while start < rows:
            wanted = min(self.fitting.get(kind, self.size), rows - start)
            part, fitted = halving(lambda n: work(slice(start, start + n)), wanted, REMEDY)  # noqa: B023
            parts.append(part)
            start += fitted
            if fitted < wanted:
                self.fitting[kind] = fitted
        return torch.cat(parts)
