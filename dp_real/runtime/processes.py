"""Shares work among processes: of `dp real run`, torchrun, srun, `accelerate launch`. A single one does all of it.

Whole items are shared (a block of rows, a batch to assess), so that results do not depend on the number of processes.
"""

import atexit
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed
from torch.distributed import distributed_c10d

from dp_base.errors import Interrupted
from dp_real.runtime.memory import leave_reserve, out_of_memory
from dp_real.runtime.slurm import adopt_tasks
from dp_real.runtime.watch import LIMIT, Watch

TIMEOUT = timedelta(days=1)  # processes may wait long for the main one to train a generator, or for the last block
STEP_TIMEOUT = timedelta(seconds=2 * LIMIT)  # of the sums in a step; dp_real.runtime.watch says before who is missing
LOST = 30.0  # seconds from the loss of another process until this one ends by itself
GRACE = 5.0  # seconds for the main process to end with the same error as this one

Item = TypeVar("Item")
Result = TypeVar("Result")


class LostError(RuntimeError):
    """Other processes cannot be reached. Which one ended first, and why, that process or the launcher says."""

    exit_status = 1


@cache
def this_process() -> PartialState:
    """This process and its rank. With others, the first call starts the process group (gloo on CPUs, nccl on GPUs)."""
    adopt_tasks()
    here = PartialState(cpu=not torch.cuda.is_available(), timeout=STEP_TIMEOUT)
    if here.num_processes > 1:
        atexit.register(_leave, here)
        _group()  # now, while all are there
        _watch().start()
    leave_reserve(here.device or torch.device("cpu"))
    return here


@cache
def _watch() -> Watch:
    """The watch over the waits of this process, which is one of several."""
    here = PartialState()
    store: Any = distributed_c10d._get_default_store()
    return Watch(store.clone(), here.process_index, here.num_processes)  # a store waits for one thread at a time


@contextmanager
def joining(what: str, lasting: bool = False) -> Iterator[None]:
    """The block waits for all processes. The message to come, if one does not, says `what`. Raises LostError.

    lasting: the block only asks a GPU to wait; the process itself does so later, where it needs the result.
    """
    with _watch().joining(what, lasting):
        try:
            yield
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            said = str(error).strip().splitlines() or [type(error).__name__]
            cause = said[0] if len(said) == 1 else f"{said[0]} … {said[-1]}"  # NCCL's own words come last
            raise LostError(
                f"other processes are gone, or the network is, in {what} ({cause}); resume the run"
            ) from error


@contextmanager
def phase(what: str, *, patient: bool = False) -> Iterator[None]:
    """Say what this process does within the block, for the message of others that wait for it.

    patient: it may take any time. Otherwise others wait for an hour without a sign of life, see dp_real.runtime.watch.
    After the block the phase around it goes on. If the block fails, the message still says what it did.
    """
    if this_process().num_processes == 1:
        yield
        return
    watch = _watch()
    outer, outer_patient = watch.phase, watch.patient
    watch.enter(what, patient)
    yield
    watch.enter(outer, outer_patient)


def alive() -> None:
    """Give the others a sign of life, in work that may take hours."""
    if this_process().num_processes > 1:
        _watch().beats += 1


def _leave(here: PartialState) -> None:
    """End the process group in order."""
    here.destroy_process_group()


def is_reporter(error: str) -> bool:
    """Whether this process is to tell the user of an error that ends it.

    The main process is. Another one is if the main process does not end with the same error within GRACE.
    """
    if not this_process.cache_info().currsize or this_process().num_processes == 1:
        return os.environ.get("RANK", "0") == "0"
    store: Any = distributed_c10d._get_default_store()
    note = f"error/{hashlib.sha256(error.encode()).hexdigest()}"
    try:
        if this_process().is_main_process:
            store.set(note, "")
            return True
        deadline = time.monotonic() + GRACE
        while not store.check([note]):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.1)
    except RuntimeError:  # the store has closed: the main process has ended
        return this_process().is_main_process
    return False


@contextmanager
def together() -> Iterator[None]:
    """For a block that all processes run: if it fails here, let this process end without waiting for the others.

    Ending the process group in order would wait for the others, while they wait for this process. The launcher sees it
    end, and ends the others. One that has lost another gives it time to do so, before it raises LostError.
    """
    try:
        yield
    except Interrupted:
        raise  # all processes raise it, by agreement
    except BaseException as error:
        atexit.unregister(_leave)
        if isinstance(error, LostError):
            time.sleep(LOST)
        raise


def device() -> torch.device:
    """The device of this process: its GPU, or the CPU."""
    return this_process().device or torch.device("cpu")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else [str(index) for index in range(count)])[:count]


def gather(items: list[Result]) -> list[Result]:
    """The items of all processes, ordered by rank, in every process. They are sent between CPUs."""
    here = this_process()
    if here.num_processes == 1:
        return items
    parts: list[Any] = [None] * here.num_processes
    with joining("an exchange of results"):
        distributed.all_gather_object(parts, items, group=_group())
    return [item for part in parts for item in part]


@cache
def _group() -> Any:
    """The group that sends objects. nccl would copy them to the GPUs and back."""
    return distributed.new_group(backend="gloo", timeout=TIMEOUT)


def distribute(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """[function(item) for item in items], in every process. One process computes each; results must be on the CPU."""
    here = this_process()
    share = [
        (index, function(item)) for index, item in enumerate(items) if index % here.num_processes == here.process_index
    ]
    return [result for _, result in sorted(gather(share), key=lambda pair: pair[0])]


def own_share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's items. They are consecutive, so that results are in order by rank."""
    here, n = this_process(), len(items)
    return items[here.process_index * n // here.num_processes : (here.process_index + 1) * n // here.num_processes]


def own_cores() -> int:
    """The number of cores for this process: its share, if a launcher started several on the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def slices(rows: slice, size: int) -> Iterator[slice]:
    """Split `rows` into consecutive slices of at most `size` rows."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


def read_slices(n: int) -> Iterator[slice]:
    """Slices of n rows for `distribute`: of at most 256 rows, and small enough that each process gets some."""
    return slices(slice(0, n), max(1, min(256, -(-n // this_process().num_processes))))


def from_main(value: Result) -> Result:
    """Return the main process's `value` in all processes."""
    if this_process().num_processes == 1:
        return value
    values = [value]
    with joining("a decision of rank 0"):
        distributed.broadcast_object_list(values, group=_group())
    return values[0]


def copy_from_main(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite the tensors in place by those of the main process. Those of one type travel together."""
    if this_process().num_processes > 1:
        alike: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            alike.setdefault(tensor.dtype, []).append(tensor)
        for part in alike.values():
            with _together(part) as values, joining("a copy from rank 0", lasting=values.is_cuda):
                distributed.broadcast(values, 0)


def add_up(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite the tensors in place by their sums over the processes. They travel together."""
    with _together(tensors) as values, joining("the sum of the gradients", lasting=values.is_cuda):
        distributed.all_reduce(values)


@contextmanager
def _together(tensors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The tensors' values as one vector. What the block makes of it they take over."""
    values = torch.cat([tensor.flatten() for tensor in tensors])
    yield values
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process. All processes call it."""
    return any(gather([flag]))


@contextmanager
def main_first() -> Iterator[bool]:
    """The main process runs the block before the others. Yields whether this is the main process.

    An exception in the main process is raised in all of them, so that none waits for ever.
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
