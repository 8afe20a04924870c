"""Work spread over the processes of a torchrun or `accelerate launch`; alone, all of it is done here.

What is spread are whole items (a block of rows, a batch to assess), so that their results do not depend on how many
processes there are.
"""

import atexit
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def state() -> PartialState:
    """This process among its peers; starts the process group (gloo on CPU, nccl on GPU) if there are any."""
    # A process may wait for long: for the first to train a generator, or for the last block of a round.
    here = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
    if here.num_processes > 1:
        atexit.register(_leave, here)
    return here


def _leave(here: PartialState) -> None:
    """End the process group in order. Threads of a data-parallel wrapper that is still around abort the process."""
    gc.collect()
    here.destroy_process_group()


def device() -> torch.device:
    """Where this process computes: its GPU, or the CPU."""
    return state().device or torch.device("cpu")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """[function(item) for item in items], each done by one process; all processes get all results, on the CPU."""
    here = state()
    if here.num_processes == 1:
        return [function(item) for item in items]
    share = [
        (index, function(item)) for index, item in enumerate(items) if index % here.num_processes == here.process_index
    ]
    return [result for _, result in sorted(gather_object(share), key=lambda pair: pair[0])]


def from_main(value: Result) -> Result:
    """What the main process passes; the others' arguments are ignored."""
    if state().num_processes == 1:
        return value
    return broadcast_object_list([value])[0]


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return flag if state().num_processes == 1 else any(gather_object([flag]))


@contextmanager
def main_first() -> Iterator[bool]:
    """The main process goes through the block before the others; yields whether this is it.

    An exception of the main process is raised in all of them, so that none waits for ever.
    """
    here, failure = state(), None
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
