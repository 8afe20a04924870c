"""A simulated machine of several devices: `dp` in CPU processes, one of which meets a fault.

`python -m torture.machine PROCESSES FAULT WORDS` forks them from a server that has loaded all, as eight new ones take
half a minute. The launcher is dp's own, whose threads may hold locks: forked from it, a process might wait for ever.
"""

import functools
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Container
from datetime import timedelta
from typing import Any

import torch
from dp_experiments.cli import launch
from dp_experiments.cli.main import main
from torch.distributed.launcher import api

from dp_real.generators.models.denoiser import DenoiserGenerator
from dp_real.learners.models.network import NetworkLearner
from dp_real.pool import pool as pools
from dp_real.practice.rounds import Rounds
from dp_real.runtime import distributed

FAULTY = "5"  # the rank that meets the fault, unless it is the main one
DRAWS_ROUND_1 = 3  # the call that draws or links a rank's only block of round 1, after two blocks of round 0
SEALS_ROUND_1 = 5  # the main rank's call, after those of three blocks and of round 0
FROM_ROUND_1 = range(DRAWS_ROUND_1, 1000)
ALWAYS = range(1, 1000)

LOADED = ("sklearn.datasets", "torch._dynamo", "dp_experiments.cli.commands", "dp_real.plan.needs", "dp_real.runs.run")
"""What the processes need sooner or later, loaded once."""

Effect = Callable[..., Any]
"""What happens in place of a call: effect(function, *arguments, **options)."""


def strike(calls: Container[int], owner: Any, name: str, effect: Effect, rank: str = FAULTY) -> None:
    """An effect replaces these calls, from 1, of owner.name in one rank."""
    true = getattr(owner, name)
    made: list[int] = []

    @functools.wraps(true)
    def replaced(*arguments: Any, **options: Any) -> Any:
        if os.environ["RANK"] == rank:
            made.append(1)
            if len(made) in calls:
                return effect(true, *arguments, **options)
        return true(*arguments, **options)

    setattr(owner, name, replaced)


def dies(true: Effect, *arguments: Any, **options: Any) -> None:
    """Killed, as by a system out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_afterwards(true: Effect, *arguments: Any, **options: Any) -> None:
    """Killed once the call has done its work."""
    true(*arguments, **options)
    dies(true)


def no_memory(true: Effect, *arguments: Any, **options: Any) -> None:
    """The device has no memory."""
    raise torch.OutOfMemoryError("CUDA out of memory (injected)")


def broken(true: Effect, *arguments: Any, **options: Any) -> None:
    """The disk is broken."""
    raise OSError(5, "Input/output error (injected)")


def times_nan(true: Effect, *arguments: Any, **options: Any) -> Any:
    """What the call returns is not finite."""
    return true(*arguments, **options) * float("nan")


def waits(seconds: float) -> Effect:
    """The call takes longer."""

    def effect(true: Effect, *arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return true(*arguments, **options)

    return effect


def unseen(looks: int) -> Effect:
    """A node misses a version of the pool the first `looks` times."""
    looked: Counter[Any] = Counter()

    def effect(true: Effect, folder: Any) -> Any:
        looked[folder] += 1
        if looked[folder] <= looks:
            raise ValueError(f"Not found: {folder} (injected)")
        return true(folder)

    return effect


def hung() -> None:
    """A rank never ends a block."""
    distributed.LIMIT = timedelta(seconds=60)
    strike([DRAWS_ROUND_1], Rounds, "_table", waits(1000.0))


def late_view() -> None:
    """A node sees each version of the pool late."""
    distributed.PAUSE = 0.05
    strike(ALWAYS, pools, "read_round", unseen(3))


def no_view() -> None:
    """A node never sees a version of the pool."""
    distributed.PAUSE = 0.05
    distributed.VISIBLE = 0.5
    strike(ALWAYS, pools, "read_round", unseen(1000))


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "no memory in training": lambda: strike([5, 9], NetworkLearner, "_forward", no_memory),
    "slow": lambda: strike([4], NetworkLearner, "train_step", waits(4.0)),
    "hung while drawing": hung,
    "killed while drawing": lambda: strike([DRAWS_ROUND_1], Rounds, "_table", dies),
    "broken while drawing": lambda: strike([2], Rounds, "_table", broken),
    "nan while drawing": lambda: strike(FROM_ROUND_1, DenoiserGenerator, "sample", times_nan),
    "killed while training": lambda: strike([7], NetworkLearner, "train_step", dies),
    "killed while committing": lambda: strike([DRAWS_ROUND_1], pools, "_link", dies_afterwards),
    "main killed while committing": lambda: strike([SEALS_ROUND_1], pools, "seal", dies, rank="0"),
    "main broken while committing": lambda: strike([SEALS_ROUND_1], pools, "seal", broken, rank="0"),
    "sees late": late_view,
    "never sees": no_view,
}
"""The faults by name: each function sets one up in this process."""


class Forking(api.elastic_launch):
    """dp's launcher, whose processes are forked; what dp restarts is sound."""

    fault = "none"  # of the next launch

    def __call__(self, *arguments: Any) -> Any:
        """The first two arguments would start Python anew."""
        self._config.start_method = "forkserver"
        self._entrypoint = be_rank
        fault, Forking.fault = Forking.fault, "none"
        return super().__call__(fault, *arguments[2:])


def be_rank(fault: str, *arguments: str) -> None:
    """Exits with the status of `dp`, unless that is 0."""
    FAULTS[fault]()
    sys.argv = ["dp", *arguments]
    main()


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["torture.machine", *LOADED])
    processes = int(sys.argv.pop(1))
    launch.process_count = lambda: processes
    Forking.fault = sys.argv.pop(1)
    api.elastic_launch = Forking
    main()
