"""The processes of a run, and how they share work.

They are started by `dp real run`, torchrun, srun or `accelerate launch`. A single process does all the work. Several
share whole items, such as blocks of rows or batches to assess. So results do not depend on the number of processes.
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

import joblib
import torch
from accelerate import PartialState
from torch import distributed
from torch.distributed import distributed_c10d

from dp_base.errors import Interrupted
from dp_real.runtime.memory import leave_reserve, out_of_memory
from dp_real.runtime.slurm import adopt_tasks
from dp_real.runtime.watch import LIMIT, Phase, Watch

TIMEOUT = timedelta(days=1)  # processes may wait long for the main one to train a generator, or for the last block
STEP_TIMEOUT = timedelta(seconds=2 * LIMIT)  # of the sums in a step; dp_real.runtime.watch ends the run before
LOST = 30.0  # seconds from the loss of another process until this one ends by itself
GRACE = 5.0  # seconds for the main process to end with the same error as this one
MOST_READ = 256  # rows that a process reads together
MOST_READERS = 32  # threads that read ahead; each has two parcels of rows in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


class LostError(RuntimeError):
    """Other processes cannot be reached. The process that ended first, or the launcher, says why it ended."""

    exit_status = 1


# this process among the others


@cache
def this_process() -> PartialState:
    """Return this process and its rank.

    If there are others, the first call starts the process group, with gloo on CPUs and nccl on GPUs.
    """
    adopt_tasks()
    here = PartialState(cpu=not torch.cuda.is_available(), timeout=STEP_TIMEOUT)
    if here.num_processes > 1:
        atexit.register(_leave, here)
        _object_group()  # made now, while all processes are there
        _watch().start()
    leave_reserve(here.device or torch.device("cpu"))
    return here


@cache
def _object_group() -> Any:
    """nccl would copy objects to the GPUs and back."""
    return distributed.new_group(backend="gloo", timeout=TIMEOUT)


def _leave(here: PartialState) -> None:
    """End the process groups in order, and the threads of the one that is kept here.

    A thread of gloo may still hold the last object that was sent, and aborts if the interpreter ends first.
    """
    here.destroy_process_group()
    _object_group.cache_clear()


def device() -> torch.device:
    """Return the device of this process: its GPU, or the CPU."""
    return this_process().device or torch.device("cpu")


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else [str(index) for index in range(count)]
    return names[:count]


def own_cores() -> int:
    """Return the number of cores for this process: its share, if a launcher started several on the machine.

    Affinity (srun's) and a container's quota may leave it a few of many.
    """
    return max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def reader_threads(cores: int) -> int:
    """Return how many threads read ahead: one a core, within bounds.

    At least two, so that one decodes while the other waits for the disk.
    """
    return min(MOST_READERS, max(2, cores))


# what others are told of this process


@cache
def _watch() -> Watch:
    here = PartialState()
    store: Any = distributed_c10d._get_default_store()
    own_store = store.clone()  # because a store waits for one thread at a time
    return Watch(own_store, here.process_index, here.num_processes)


@contextmanager
def joining(what: str, lasting: bool = False) -> Iterator[None]:
    """Run a block that waits for all processes.

    With `lasting`, the block only tells a GPU to wait, and the process itself waits later, where it needs the result.
    Raises LostError if the others cannot be reached.
    """
    with _watch().joining(what, lasting):
        try:
            yield
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            cause = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"  # NCCL's own words come last
            raise LostError(
                f"other processes are gone, or the network is, in {what} ({cause}); resume the run"
            ) from error


@contextmanager
def phase(name: str, *, patient: bool = False) -> Iterator[None]:
    """Say what this process does within the block, for the messages of others that wait for it.

    A patient phase may take any time. In others, the run is ended after an hour without a sign of life
    (dp_real.runtime.watch). Afterwards the process is in the earlier phase, unless the block fails.
    """
    if this_process().num_processes == 1:
        yield
        return
    before = _watch().phase
    _watch().enter(Phase(name, patient))
    yield
    _watch().enter(before)


def alive() -> None:
    """Give the others a sign of life, in work that may take hours."""
    if this_process().num_processes > 1:
        _watch().beats += 1


# how processes end


def is_reporter(error: str) -> bool:
    """Whether this process is the one that tells the user of an error that ends it.

    The main process is. Another one is if the main process does not end with the same error within GRACE seconds.
    """
    is_started = this_process.cache_info().currsize > 0
    if not is_started or this_process().num_processes == 1:
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
    """Run a block that all processes run.

    If it fails here, this process ends without waiting for the others. They wait for this process, so an orderly end
    would hang. A process that has lost another one gives the launcher time to end it, before it raises LostError.
    """
    try:
        yield
    except Interrupted:
        raise  # all processes agreed to raise it
    except BaseException as error:
        atexit.unregister(_leave)
        if isinstance(error, LostError):
            time.sleep(LOST)
        raise


# sharing work


def gather(items: list[Result]) -> list[Result]:
    """Return the items of all processes, ordered by rank, in every process. They are sent between CPUs."""
    here = this_process()
    if here.num_processes == 1:
        return items
    parts: list[Any] = [None] * here.num_processes
    with joining("an exchange of results"):
        distributed.all_gather_object(parts, items, group=_object_group())
    return [item for part in parts for item in part]


def distribute(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return function(item) for each item, in every process.

    One process computes each result, which must be on the CPU.
    """
    here = this_process()
    own: list[tuple[int, Result]] = []
    for index, item in enumerate(items):
        if index % here.num_processes == here.process_index:
            own.append((index, function(item)))
    return [result for _, result in sorted(gather(own), key=lambda pair: pair[0])]


def own_share(items: Sequence[Item]) -> Sequence[Item]:
    """Return this process's items. They are consecutive, so that results are in order by rank."""
    here = this_process()
    begin = here.process_index * len(items) // here.num_processes
    end = (here.process_index + 1) * len(items) // here.num_processes
    return items[begin:end]


def slices(rows: slice, size: int) -> Iterator[slice]:
    """Split `rows` into consecutive slices of at most `size` rows."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


def read_slices(n: int) -> Iterator[slice]:
    """Split n rows into slices for `distribute`, of at most 256 rows, so that each process gets some."""
    rows_per_process = -(-n // this_process().num_processes)
    return slices(slice(0, n), max(1, min(MOST_READ, rows_per_process)))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process. All processes must call this."""
    return any(gather([flag]))


def wait_for_all() -> None:
    """Return once all processes have called this."""
    gather([])


# what the main process decides


def from_main(value: Result) -> Result:
    """Return the main process's `value` in all processes."""
    if this_process().num_processes == 1:
        return value
    values = [value]
    with joining("a decision of rank 0"):
        distributed.broadcast_object_list(values, group=_object_group())
    return values[0]


def copy_from_main(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite the tensors in place by those of the main process. Those of one type travel together."""
    if this_process().num_processes == 1:
        return
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for alike in by_type.values():
        with _as_one_vector(alike) as values, joining("a copy from rank 0", lasting=values.is_cuda):
            distributed.broadcast(values, 0)


def add_up(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite the tensors in place by their sums over the processes. They travel together."""
    with _as_one_vector(tensors) as values, joining("the sum of the gradients", lasting=values.is_cuda):
        distributed.all_reduce(values)


@contextmanager
def _as_one_vector(tensors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """After the block, the tensors have the values of the vector."""
    values = torch.cat([tensor.flatten() for tensor in tensors])
    yield values
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def main_first() -> Iterator[bool]:
    """Let the main process run the block before the others.

    Yield whether this is it. Its exception is raised in all processes, so that none waits for ever.
    """
    here = this_process()
    failure: Exception | None = None
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
