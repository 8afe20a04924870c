"""Makes the tasks of `srun dp real run …`, one for each GPU, the processes of one run. It imports no torch.

On several nodes, however they were started, it chooses gloo's network interface.
"""

import contextlib
import os
import re
import socket
from ipaddress import ip_address

from dp_base.errors import InputError

LAUNCHER_PREFIXES = ("SLURM_STEP_NUM_TASKS", "RANK", "LOCAL_", "WORLD_SIZE", "PMI_", "OMPI_", "MV2_")
"""Prefixes of the environment variables that launchers set for the processes they start."""
PORTS = range(20_000, 30_000)  # below the ports that systems give to outgoing connections
OF_TASK = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")  # set by srun for each task


def adopt_tasks() -> None:
    """If srun started this process, set the variables that torchrun would set. A batch script is no task."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "RANK" in os.environ or not os.environ.keys() >= {*OF_TASK}:
        return
    job = int(os.environ.get("SLURM_JOB_ID", "0")) + int(os.environ.get("SLURM_STEP_ID", "0"))
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    # Tasks that are bound to different cores need not share them (dp_real.runtime.distributed.own_cores).
    if len(os.sched_getaffinity(0)) == os.cpu_count():
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(local_world_size()))
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ["SLURM_STEP_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", str(PORTS[job % len(PORTS)]))


def rank() -> int:
    """This process's rank among those that a launcher started; 0 if it is alone, or the variables make no sense."""
    with contextlib.suppress(ValueError):
        own = int(os.environ.get("RANK", "0"))
        return own if 0 <= own < int(os.environ.get("WORLD_SIZE", "1")) else 0
    return 0


def require_one_task(what: str) -> None:
    """Raise InputError if, by the environment variables, a launcher started several processes."""
    adopt_tasks()
    if (count := os.environ.get("WORLD_SIZE") or "1") != "1":
        raise InputError(f"{what} runs in one process, not {count}: start one (srun --ntasks=1)")


def adopt_interface() -> None:
    """If several nodes share a run, make gloo use the interface that reaches the first node.

    Gloo's default is the address of this machine's name, 127.0.1.1 on Debian, which other nodes cannot reach.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    is_alone = os.environ.get("LOCAL_WORLD_SIZE", "1") == world
    if is_alone or "GLOO_SOCKET_IFNAME" in os.environ or "MASTER_ADDR" not in os.environ:
        return
    import psutil

    with contextlib.suppress(OSError):
        if not ip_address(socket.gethostbyname(socket.gethostname())).is_loopback:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((os.environ["MASTER_ADDR"], 1))  # sends nothing
            own = probe.getsockname()[0]
        for name, addresses in psutil.net_if_addrs().items():
            if own in (each.address for each in addresses):
                os.environ["GLOO_SOCKET_IFNAME"] = name


def local_world_size() -> int:
    """This step's tasks on this node, from SLURM's counts: 8(x2),4 means 8, 8 and 4."""
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    nodes = [int(count) for count, times in counts for _ in range(int(times or 1))]
    return nodes[int(os.environ.get("SLURM_NODEID", "0"))]


def first_host(nodes: str) -> str:
    """The first of SLURM's hosts: gpu-07 of gpu-[07-09,12],login."""
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", nodes).partition(",")[0]
