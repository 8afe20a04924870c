"""How many rows go through the device together: as many as fit."""

import sys
from collections.abc import Callable, Hashable

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor

from dp_base.errors import MissingError

FIRST = 8  # rows tried at first on a GPU


class DeviceBatches:
    """Draws rows a device batch at a time. The rows are the same whatever its size, to rounding.

    size 0: as many as fit, found once for each kind of work by doubling; without a GPU all of them, since there
    running out of memory ends the process. A batch that is too large for the GPU is halved, and drawn again.
    """

    def __init__(self, size: int, gpu: bool) -> None:
        self._grows = size == 0 and gpu
        self._first = size or (FIRST if gpu else sys.maxsize)
        self._found: dict[Hashable, tuple[int, bool]] = {}  # rows that fit, and whether more may

    def draw(self, rows: int, work: Callable[[slice], Tensor], kind: Hashable = None) -> Tensor:
        """work(slice(0, rows)), in parts. Raises MissingError where not even one row fits."""
        size, grows = self._found.get(kind, (self._first, self._grows))
        parts, start = [], 0
        while start < rows:
            stop = min(start + size, rows)
            part = _attempt(work, slice(start, stop))
            if part is None:
                size, grows = (stop - start) // 2, False
                if size == 0:
                    raise MissingError(
                        "a single row needs more memory than the GPU has: generator.checkpointing or slicing = true, "
                        "generator.decoder = 'tiny', guidance.through = 'x0' or dtype = 'bfloat16' take less"
                    )
            else:
                parts.append(part)
                size *= 2 if grows and stop - start == size else 1
                start = stop
            self._found[kind] = size, grows
        return torch.cat(parts)


def _attempt(work: Callable[[slice], Tensor], rows: slice) -> Tensor | None:
    """work(rows), or None if it ran out of the device's memory, of which it then holds nothing."""
    try:
        return work(rows)
    except RuntimeError as error:  # torch's own, or of cuBLAS and cuDNN, who have memory beside it
        if not should_reduce_batch_size(error) and "STATUS_ALLOC_FAILED" not in str(error):
            raise
        # What the failed work holds is let go with the exception, so only after this block:
    torch.cuda.empty_cache()
    return None
