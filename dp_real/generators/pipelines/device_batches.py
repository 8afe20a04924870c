"""Device batches: how many rows go through the device together."""

import sys
from collections.abc import Callable, Hashable
from functools import partial

import torch
from torch import Tensor

from dp_real.runtime import processes
from dp_real.runtime.memory import attempt, too_small

FIRST = 8  # rows in the first attempt on a GPU


class DeviceBatches:
    """Draws rows in device batches. The size of a batch changes the rows by rounding only.

    A batch that is too large for the GPU is halved and drawn again. A `size` of 0 means as many rows as fit, found once
    for each kind of work by doubling. Without a GPU it means all rows: the size cannot be found there, as running out
    of memory ends the process.
    """

    def __init__(self, size: int, gpu: bool) -> None:
        self._grows = size == 0 and gpu
        self._first = size or (FIRST if gpu else sys.maxsize)
        self._found: dict[Hashable, tuple[int, bool]] = {}  # rows that fit, and whether more might

    def draw(self, rows: int, work: Callable[[slice], Tensor], kind: Hashable = None) -> Tensor:
        """The result of work(slice(0, rows)), computed in parts.

        `kind` tells apart work that needs different amounts of memory.

        Raises MissingError if not even one row fits, and RuntimeError if not even one can be computed, for reasons that
        need not be memory.
        """
        size, grows = self._found.get(kind, (self._first, self._grows))
        parts: list[Tensor] = []
        start = 0
        while start < rows:
            stop = min(start + size, rows)
            part = attempt(partial(work, slice(start, stop)))
            processes.alive()
            if part is None:
                size = (stop - start) // 2
                grows = False
                if size == 0:
                    raise too_small(
                        "a single row needs more memory than the GPU has: generator.checkpointing = true, "
                        "generator.decoder = 'tiny', guidance.through = 'x0' or dtype = 'bfloat16' take less"
                    )
            else:
                parts.append(part)
                if grows and stop - start == size:
                    size *= 2
                start = stop
            self._found[kind] = size, grows
        return torch.cat(parts)
