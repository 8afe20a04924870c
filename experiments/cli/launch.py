"""Starts a command again as several processes, one for each GPU of this machine."""

import logging
import os
import signal
import sys
import uuid
from typing import Annotated

import typer

from experiments.terminal import say

Gpus = Annotated[str, typer.Option(help="A process is started on each of so many GPUs of this machine: a number, all.")]
Processes = Annotated[int, typer.Option(min=1, hidden=True, help="Processes that share the work on CPUs.")]

CODE = "from experiments.cli.main import main; main()"
PATIENCE = 120  # seconds that processes have to write a checkpoint, once they are told to stop


def process_count(gpus: str, processes: int) -> int:
    """How many processes to start: 1 if this is one of several already, or if there are not several GPUs.

    Raises InputError for what is no number of GPUs, MissingError for more than there are.
    """
    import torch

    from dp_base.errors import InputError, MissingError

    if "RANK" in os.environ:
        return 1
    found = torch.cuda.device_count()
    if gpus == "all":
        return max(found, processes)
    if not gpus.isdecimal() or not int(gpus):
        raise InputError(f"--gpus {gpus}: must be a number of at least 1, or all")
    if int(gpus) > found:
        raise MissingError(f"--gpus {gpus}: this machine has {found}; leave it out to use what is there")
    return int(gpus)


def run_together(count: int, *arguments: str) -> int:
    """Run `dp ARGUMENTS` in `count` processes that know of each other; returns the status to exit with.

    They write to this process's stdout and stderr. If one fails, the others are ended; of one that was killed, the
    signal is told here. On Ctrl-C and SIGTERM they stop by agreement.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from dp_real.runtime.processes import own_cores

    say(f"{count} processes share the work")
    threads = 1 if torch.cuda.is_available() else max(1, own_cores() // count)  # a GPU's cores are for the loader's
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    here = LaunchConfig(
        1, 1, count, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0
    )
    debug = ["--debug"] if "--debug" in sys.argv else []
    logging.disable()  # of the launcher: what failed, the processes say themselves
    try:
        elastic_launch(here, sys.executable)("-c", CODE, *arguments, *debug)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            hint = ", perhaps because the machine ran out of memory" if failure.exitcode == -signal.SIGKILL else ""
            say(f"dp: rank {rank} was ended by {signal.Signals(-failure.exitcode).name}{hint}")
        return failure.exitcode if failure.exitcode in (2, 3, 130) else 1
    except SignalException:
        return 130
    finally:
        logging.disable(logging.NOTSET)
    return 0
