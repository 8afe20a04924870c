"""The processes of a run, and a GPU's memory. Processes share whole items, so results do not depend on their number."""

import atexit
import gc
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import cache
from threading import Timer
from typing import Any, NamedTuple, TypeVar

import joblib
import torch
from accelerate import PartialState
from accelerate.utils.memory import should_reduce_batch_size
from torch import distributed
from torch.distributed import distributed_c10d

from dp_base.errors import STOP_SIGNALS, DamagedError, InputError, Interrupted, MissingError
from dp_base.launcher import LAUNCHER_PREFIXES, adopt_interface, adopt_tasks, rank, require_one_task

log = logging.getLogger(__name__)

LIMIT = timedelta(hours=2)  # to wait for others that do the same work
MAIN_LIMIT = timedelta(days=1)  # to wait for the main process, which may be training a generator
LOST = 30.0  # seconds until this process ends when another is lost
LATE = 120  # seconds of waiting until a process says so
GRACE = 5.0  # seconds for the main process to end with the same error as this one
MAX_READ = 256  # rows of one read
VISIBLE = 180.0  # seconds until another node's file must be visible; NFS caches a folder for up to 60
PAUSE = 0.5  # seconds between tries
# Messages of CUDA and its libraries, which allocate outside torch's cache, when memory runs out; accelerate knows
# others.
NO_MEMORY = ("out of memory", "status_alloc_failed")
DOUBTFUL = (
    "cublas_status_not_initialized",
    "cudnn_status_internal_error",
    "cudnn_status_execution_failed",
    "cudnn_status_not_supported",
    "unable to find an engine",
)
"""Messages when memory runs out, but also for other reasons, such as a driver that does not fit."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class LostError(RuntimeError):
    """Other processes cannot be reached. The one that ended first, or the launcher, reports why."""

    exit_status = 1


# this process among the others


class Process(NamedTuple):
    """A process by its rank among those that share the work."""

    process_index: int
    num_processes: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        return self.process_index == 0


def this_process() -> Process:
    """This process in the program's process group, or in one that the first call starts under a launcher.

    The latter is gloo on CPUs and nccl on GPUs. Raises InputError if the launcher's variables are inconsistent.
    """
    place = _own_device()
    if not distributed.is_initialized():
        return Process(_local_rank_of_lightning() or 0, 1, place)
    if distributed.get_world_size() > 1:
        _object_group()  # made now, while all processes exist
    return Process(distributed.get_rank(), distributed.get_world_size(), place)


@cache
def _own_device() -> torch.device:
    has_group = distributed.is_initialized()
    if not has_group:
        adopt_tasks()
        adopt_interface()
    variables = ", ".join(
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(LAUNCHER_PREFIXES)
    )
    if not has_group and (local_rank := _local_rank_of_lightning()) is not None:
        return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    is_first = not PartialState._shared_state
    try:
        world = os.environ.get("WORLD_SIZE")
        if not has_group and "RANK" in os.environ and not 0 <= int(os.environ["RANK"]) < int(world or sys.maxsize):
            raise ValueError("RANK should be at least 0, and below WORLD_SIZE")
        waits = not has_group and world not in (None, "1")  # for others, and a handler of Python's would wait with it
        with handling_signals(signal.SIG_DFL) if waits else nullcontext():
            place = PartialState(cpu=not torch.cuda.is_available(), timeout=LIMIT).device or torch.device("cpu")
    except (ValueError, distributed.DistNetworkError) as error:
        raise InputError(
            f"{variables}: with these no process group can start: {error}; for several processes, MASTER_PORT should "
            "be free; for one, unset them"
        ) from error
    if is_first and not distributed.is_initialized():
        PartialState._reset_state()  # or the processes that notebook_launcher forks later would each be alone
    return place


def _object_group() -> Any:
    return _gloo_beside(distributed.group.WORLD)


@cache
def _gloo_beside(world: Any) -> Any:
    """A gloo group for objects: nccl would copy them to the GPUs and back, and has no monitored_barrier."""
    atexit.register(_leave)
    with warn_if_late():
        return distributed.new_group(backend="gloo", timeout=MAIN_LIMIT)


def _leave() -> None:
    """End the process groups in order, since a gloo thread that holds the last object would abort the interpreter."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    _gloo_beside.cache_clear()


def _local_rank_of_lightning() -> int | None:
    """The rank on this node if Lightning started this process, which also starts the group, later."""
    is_its_own = os.environ.keys() >= {"NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"} and "RANK" not in os.environ
    return int(os.environ["LOCAL_RANK"]) if is_its_own else None


@contextmanager
def handling_signals(handler: Any) -> Iterator[None]:
    """Answer STOP_SIGNALS by a handler; but in a thread, or where a host of Python answers them, those stay."""
    with ExitStack() as at_end:
        with suppress(ValueError):
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not None:
                    at_end.callback(signal.signal, number, signal.signal(number, handler))
        yield


def require_alone(what: str) -> None:
    """Raise InputError if this is one of several processes."""
    require_one_task(what)
    if this_process().num_processes > 1:
        raise InputError(f"{what} runs in one process: call it in a separate program")


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    return this_process().device


def visible_gpus() -> list[str]:
    """This process's GPUs, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else [str(index) for index in range(count)]
    return names[:count]


def own_cores() -> int:
    """This process's share of the cores that affinity (by srun) or a container's quota allows."""
    return max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))


# the end of processes


def is_reporter(error: str) -> bool:
    """Whether this process reports its error: the main one does, or another if that is silent for GRACE s."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rank() == 0
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
    except RuntimeError:  # the store is closed, as the main process has ended
        return this_process().is_main_process
    return False


@contextmanager
def together() -> Iterator[None]:
    """All processes run the block. An error ends this one at once: an orderly end would wait for others."""
    try:
        yield
    except Interrupted:
        raise  # all processes agreed to raise it
    except BaseException as error:
        atexit.unregister(_leave)
        if isinstance(error, LostError):
            time.sleep(LOST)
        raise


@contextmanager
def exchange() -> Iterator[None]:
    """Raise LostError in place of an error if the others are not reached in time."""
    try:
        yield
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        is_told_first = len(lines) == 1 or "monitoredBarrier" in lines[0]
        cause = lines[0] if is_told_first else f"{lines[0]} … {lines[-1]}"  # NCCL's message comes last
        raise LostError(f"other processes ended or hang, or the network failed ({cause}); resume the run") from error


# shared work


def gather(items: list[Result]) -> list[Result]:
    """All processes' items by rank, in every process, sent between CPUs."""
    here = this_process()
    if here.num_processes == 1:
        return items
    parts: list[Any] = [None] * here.num_processes
    with exchange():
        distributed.monitored_barrier(_object_group(), timeout=LIMIT)
        distributed.all_gather_object(parts, items, group=_object_group())
    return [item for part in parts for item in part]


def distribute(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """function(item) for each item, in every process. Each is computed by one process, and sent between CPUs."""
    return gather([function(item) for item in own_share(list(items))])


def own_share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's consecutive items, so that results by rank are in order."""
    here = this_process()
    begin = here.process_index * len(items) // here.num_processes
    end = (here.process_index + 1) * len(items) // here.num_processes
    return items[begin:end]


def slices(rows: slice, size: int) -> Iterator[slice]:
    """Split `rows` into consecutive slices of at most `size` rows."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


def read_slices(n: int) -> Iterator[slice]:
    """Split n rows for `distribute`, at most MAX_READ each, so that each process gets some."""
    rows_per_process = -(-n // this_process().num_processes)
    return slices(slice(0, n), max(1, min(MAX_READ, rows_per_process)))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process. All call this."""
    return any(gather([flag]))


def wait_for_everyone() -> None:
    """Return once all processes have called this."""
    if this_process().num_processes > 1:
        with warn_if_late():
            gather([])


@contextmanager
def warn_if_late() -> Iterator[None]:
    """Warn if the block, which waits for the other processes, lasts long."""
    message = "this process has waited %d s for the others: all should make this call, of a Practice or a run"
    late = Timer(LATE, log.warning, (message, LATE))
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def all_reduce(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite the tensors by their sums over processes, in one message."""
    values = torch.cat([tensor.flatten() for tensor in tensors])
    with exchange():
        distributed.all_reduce(values)
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


# what the main process decides


def from_main(value: Result) -> Result:
    """The main process's `value`, in all processes."""
    if this_process().num_processes == 1:
        return value
    values = [value]
    with exchange():
        distributed.broadcast_object_list(values, group=_object_group())
    return values[0]


def copy_from_main(tensors: Iterable[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Overwrite the tensors by those of the main process. Returns those that differed, with their own values."""
    differed = list[tuple[torch.Tensor, torch.Tensor]]()
    if this_process().num_processes == 1:
        return differed
    for tensor in tensors:
        values = tensor.detach().flatten().clone()
        with exchange():  # as bytes, since gloo lacks some types
            distributed.broadcast(values.view(torch.uint8), 0, None if tensor.is_cuda else _object_group())
        if not torch.equal(values := values.view_as(tensor), tensor):  # an expanded buffer cannot be written
            differed.append((tensor, tensor.detach().clone()))
            tensor.data.copy_(values)
    return differed


def on_main(work: Callable[[], Result]) -> Result:
    """The main process's work(), in all processes. Its exception is raised in all, so that none waits for ever."""
    result: Any = None
    failure: Exception | None = None
    if this_process().is_main_process:
        try:
            result = work()
        except Exception as error:
            failure = error if this_process().num_processes == 1 else _sendable(error)
    result, failure = from_main((result, failure))
    if failure is not None:
        raise failure
    return result


def _sendable(error: Exception) -> Exception:
    """The error, or one with its message if torch cannot send it."""
    try:
        sent = distributed_c10d._object_to_tensor(error, torch.device("cpu"), None)
        distributed_c10d._tensor_to_object(*sent, None)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    return error


def main_first(work: Callable[[], Result]) -> Result:
    """Each process's work(), the main one's first. That one's exception is raised in all."""
    made: list[Result] = []
    on_main(lambda: made.append(work()))
    return made[0] if made else work()


def when_visible(look: Callable[[], Result]) -> Result:
    """look(), repeated for up to VISIBLE seconds while NFS hides files that another process has written."""
    deadline = time.monotonic() + VISIBLE
    while True:
        try:
            return look()
        except (DamagedError, OSError, ValueError):  # ValueError is Arrow's
            if this_process().num_processes == 1 or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


# a GPU's memory


def halving(work: Callable[[int], Result], rows: int, remedy: str, least: int = 1) -> tuple[Result, int]:
    """work(rows) and the rows that fitted, halved while memory runs out. MissingError if `least` rows do not fit."""
    while True:
        try:
            return work(rows), rows
        except RuntimeError as error:
            if not out_of_memory(error) or (rows <= least and _says(error, DOUBTFUL)):
                raise
            if rows <= least:
                what = "a single row needs" if rows == 1 else f"BatchNorm's {rows} rows (training.batch_size) need"
                raise MissingError(f"{what} more memory than the GPU has: {remedy}") from error
            # The error holds the failed work's memory until this block ends, so the cache is emptied after it.
        rows = max(least, rows // 2)
        clear_device_cache()


class DeviceBatches:
    """Draws rows in device batches, whose size changes the rows by rounding only.

    Size 0 means all rows. The size is halved while a GPU's memory runs out.
    """

    def __init__(self, size: int, remedy: str) -> None:
        self.size, self.remedy = size or sys.maxsize, remedy
        self.fitting: dict[Hashable, int] = {}  # the size, once it was halved

    def draw(self, rows: int, work: Callable[[slice], torch.Tensor], kind: Hashable = None) -> torch.Tensor:
        """work(slice(0, rows)) in parts, whose size depends on the `kind` of work."""
        parts: list[torch.Tensor] = []
        start = 0
        while start < rows:
            wanted = min(self.fitting.get(kind, self.size), rows - start)
            part, fitted = halving(lambda n: work(slice(start, start + n)), wanted, self.remedy)  # noqa: B023
            parts.append(part)
            start += fitted
            if fitted < wanted:
                self.fitting[kind] = fitted
        return torch.cat(parts)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device's memory ran out, or may have."""
    return isinstance(error, RuntimeError) and (should_reduce_batch_size(error) or _says(error, NO_MEMORY + DOUBTFUL))


def _says(error: BaseException, signs: Sequence[str]) -> bool:
    return any(sign in str(error).lower() for sign in signs)


def clear_device_cache() -> None:
    """Return torch's cached memory to the GPU, for NCCL."""
    if torch.cuda.is_initialized():
        gc.collect()  # this frees modules that refer to themselves; without a GPU it would only cost time
    torch.cuda.empty_cache()
