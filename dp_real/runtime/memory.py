"""What to do when a GPU's memory runs out: how it shows, and how to try again."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size

from dp_base.errors import MissingError

Result = TypeVar("Result")

# What CUDA and its libraries say when they find no memory, beside what accelerate knows. They allocate outside torch's
# cache.
SIGNS = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED")
DOUBTFUL = (
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",
    "unable to find an engine",
)
"""What they say without memory, but also for other reasons, such as a driver that does not fit."""
SHARE = 0.95  # of a GPU's memory that torch may take; NCCL, cuDNN and cuBLAS find the rest

_failures = 0  # attempts of this process that ran out of memory
_said = ""  # by the last of them


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory ran out, or may have."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return should_reduce_batch_size(error) or any(sign.lower() in text for sign in (*SIGNS, *DOUBTFUL))


def leave_reserve(device: torch.device) -> None:
    """Keep torch from taking all of a GPU's memory. It reports memory as run out before it touches the reserve."""
    if device.type == "cuda":
        # In a single process the index is None, which stands for the present GPU.
        torch.cuda.set_per_process_memory_fraction(SHARE, device.index)


def failures() -> int:
    """Return how many attempts have run out of memory in this process."""
    return _failures


def attempt(work: Callable[[], Result]) -> Result | None:
    """Return what `work` returns, or None if the device ran out of memory, which is then freed."""
    global _failures, _said
    try:
        return work()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        _said = str(error)
        # The exception holds the failed work's memory until this block ends. So the cache is emptied after it.
    _failures += 1
    gc.collect()
    release()
    return None


def too_small(remedy: str) -> MissingError | RuntimeError:
    """What to raise when not even a single row could be computed. What had other reasons keeps its own words."""
    is_doubtful = any(sign.lower() in _said.lower() for sign in DOUBTFUL)
    return RuntimeError(_said) if is_doubtful else MissingError(remedy)


def release() -> None:
    """Give memory that torch keeps for later back to the GPU, where NCCL and others look for it."""
    if torch.cuda.is_initialized():
        gc.collect()  # a module that refers to itself is freed only so; without a GPU, this would only take time
    torch.cuda.empty_cache()
