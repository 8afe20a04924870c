"""Work spread over the processes of a torchrun or `accelerate launch`; alone, all of it is done here.

What is spread are whole items (a block of rows, a batch to assess), so that their results do not depend on how many
processes there are.
"""

import atexit
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from dp_base.errors import Interrupted

TIMEOUT = timedelta(days=1)  # a process may wait long for the first to train a generator, or for the last block

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def this_process() -> PartialState:
    """This process among its peers; starts the process group (gloo on CPU, nccl on GPU) if there are any."""
    here = PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)
    if here.num_processes > 1:
        atexit.register(_leave, here)
    return here


def _leave(here: PartialState) -> None:
    """End the process group in order. Threads of a data-parallel wrapper that is still around abort the process."""
    gc.collect()
    here.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """What all processes do; if it fails, which may be only here, this one is to end without its peers.

    To leave the group in order is to wait for them, who wait for this one. The launcher sees it end, and ends them.
    """
    try:
        yield
    except Interrupted:
        raise  # by agreement
    except BaseException:
        atexit.unregister(_leave)
        raise


def device() -> torch.device:
    """Where this process computes: its GPU, or the CPU."""
    return this_process().device or torch.device("cpu")


def gather(items: list[Result]) -> list[Result]:
    """The items of all processes, in the order of their ranks; everywhere. They travel as they are, past any GPU."""
    here = this_process()
    if here.num_processes == 1:
        return items
    parts: list[Any] = [None] * here.num_processes
    distributed.all_gather_object(parts, items, group=_group())
    return [item for part in parts for item in part]


@cache
def _group() -> Any:
    """For objects: under nccl they would be copied to the GPUs and back."""
    return distributed.new_group(backend="gloo", timeout=TIMEOUT)


def distribute(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """[function(item) for item in items], each done by one process; all processes get all results, on the CPU."""
    here = this_process()
    share = [
        (index, function(item)) for index, item in enumerate(items) if index % here.num_processes == here.process_index
    ]
    return [result for _, result in sorted(gather(share), key=lambda pair: pair[0])]


def own_share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's items: consecutive ones, so that what they make is in order by rank."""
    here, n = this_process(), len(items)
    return items[here.process_index * n // here.num_processes : (here.process_index + 1) * n // here.num_processes]


def own_cores() -> int:
    """The cores of this process: its share, where a launcher has put several on a machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def slices(rows: slice, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` rows."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


def read_slices(n: int) -> Iterator[slice]:
    """The rows of a set of n, for `distribute` to read a slice at a time: at most 256, and some for each process."""
    return slices(slice(0, n), max(1, min(256, -(-n // this_process().num_processes))))


def from_main(value: Result) -> Result:
    """What the main process passes; the others' arguments are ignored."""
    if this_process().num_processes == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, group=_group())
    return values[0]


def copy_from_main(tensors: Iterable[torch.Tensor]) -> None:
    """Make the tensors in place what they are in the main process."""
    if this_process().num_processes > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return any(gather([flag]))


@contextmanager
def main_first() -> Iterator[bool]:
    """The main process goes through the block before the others; yields whether this is it.

    An exception of the main process is raised in all of them, so that none waits for ever.
    """
    here, failure = this_process(), None
    if here.is_main_process:
        try:
            yield True
        except Exception as error:
            failure = error
    failure = from_main(failure)
    if failure is not None:
        raise failure
    if not here.is_main_process:
        yield False
