"""Starts a command again as several processes, one on each GPU of this machine."""

import logging
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from dp_experiments.terminal.lines import say

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

PASSED_ON = ("--json", "--accept-changes")  # options that a restarted run keeps; the others are in its folder
CODE = "from dp_experiments.cli.main import main; main()"
SHUTDOWN_TIMEOUT = 120  # seconds that processes have to write a checkpoint, after a signal to stop
OWN_STATUSES = (2, 3, 130)  # exit statuses of `dp` that say more than that something failed
RESTARTS = 3  # in a row without a newer checkpoint, after which the run is given up


def process_count() -> int:
    """One for each GPU that CUDA_VISIBLE_DEVICES leaves; 1 if this is one of several processes already."""
    import torch

    return 1 if "RANK" in os.environ else max(torch.cuda.device_count(), 1)


def run_and_restart(count: int, out: Path, *arguments: str) -> int:
    """Run `dp` in `count` processes; after a failure go on from the newest intact checkpoint.

    It gives up after RESTARTS times without a newer one, and at once on what no restart can mend.
    """
    from dp_real.runs.files import RunFiles, checkpoints

    status = run_together(count, *arguments)
    left, reached = RESTARTS, None
    while status == 1 and (intact := checkpoints(RunFiles(out).checkpoints)):
        left, reached = (left if intact[0] == reached else RESTARTS), intact[0]
        if not left:
            break
        say(f"dp: a process failed; restart {RESTARTS - left + 1} of {RESTARTS} from {reached.path.name}")
        flags = [word for word in arguments if word in PASSED_ON]
        status = run_together(count, "real", "resume", str(out), *flags)
        left -= 1
    return status


def run_together(count: int, *arguments: str) -> int:
    """Run `dp` in `count` processes, which end together and stop by agreement on one of STOP_SIGNALS."""
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from dp_real.runtime.distributed import own_cores

    say(f"{count} processes share the work")
    # With a GPU the cores are for the processes that load data. What the user has set stays.
    threads = 1 if torch.cuda.is_available() else max(1, own_cores() // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_TIMEOUT))
    here = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    debug = ["--debug"] if "--debug" in sys.argv else []
    logging.disable()  # the launcher's messages: what failed, the processes say themselves
    try:
        elastic_launch(here, sys.executable)("-c", CODE, *arguments, *debug)
    except ChildFailedError as error:
        return _status_of(error)
    except (SignalException, KeyboardInterrupt):  # of the launcher's own signals, and of those that `dp` adds
        return 130
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _status_of(error: "ChildFailedError") -> int:
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        hint = ", perhaps because the machine ran out of memory" if failure.exitcode == -signal.SIGKILL else ""
        say(f"dp: rank {rank} was ended by {signal.Signals(-failure.exitcode).name}{hint}")
    return failure.exitcode if failure.exitcode in OWN_STATUSES else 1
