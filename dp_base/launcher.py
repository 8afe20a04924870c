"""Makes tasks of SLURM or MPI the processes of one run, `srun dp real run …` with a task for each GPU, without torch.

On several nodes, however they were started, gloo is told the network.
"""

import contextlib
import os
import re
import socket
from ipaddress import ip_address

from dp_base.errors import InputError

SEVERAL = ("SLURM_STEP_NUM_TASKS", "RANK", "LOCAL_", "WORLD_SIZE", "PMI_", "OMPI_", "MV2_")
"""How names begin of what tells a process that it was started beside others."""
PORTS = range(20_000, 30_000)  # below the ports that systems give to outgoing connections
MPI = {  # what mpirun tells each process, by what torchrun calls it; accelerate reads it on CPUs only
    "RANK": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    "LOCAL_RANK": ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"),
    "LOCAL_WORLD_SIZE": ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"),
}
OF_TASK = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")  # what srun tells each task


def adopt_tasks() -> None:
    """Tell torch this process's rank as torchrun would, if srun or mpirun started it; a batch script is no task."""
    variables = {name: os.environ[each] for name, names in MPI.items() for each in names if each in os.environ}
    if "RANK" not in os.environ and variables.keys() == MPI.keys() and variables["WORLD_SIZE"] != "1":
        os.environ |= variables
        os.environ.setdefault("MASTER_PORT", str(PORTS[0]))
        if variables["LOCAL_WORLD_SIZE"] == variables["WORLD_SIZE"]:  # on several nodes the user names the first one
            os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "RANK" in os.environ or not os.environ.keys() >= {*OF_TASK}:
        return
    job = int(os.environ.get("SLURM_JOB_ID", "0")) + int(os.environ.get("SLURM_STEP_ID", "0"))
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    # Tasks bound to cores of their own need not share all of them (dp_real.runtime.distributed.own_cores).
    if len(os.sched_getaffinity(0)) == os.cpu_count():
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(tasks_here()))
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ["SLURM_STEP_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", str(PORTS[job % len(PORTS)]))


def require_one_task(what: str) -> None:
    """Raise InputError if a launcher started several processes, as far as variables tell."""
    adopt_tasks()
    if (count := os.environ.get("WORLD_SIZE") or "1") != "1":
        raise InputError(f"{what} is one process, not {count}: start one (srun --ntasks=1)")


def adopt_interface() -> None:
    """Tell gloo the interface that reaches the first node, if several nodes share a run.

    Gloo takes the address of this machine's name, which Debian sets to 127.0.1.1: no other node reaches that.
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


def tasks_here() -> int:
    """This step's tasks on this node, of SLURM's counts: 8(x2),4 are 8, 8 and 4."""
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    nodes = [int(count) for count, times in counts for _ in range(int(times or 1))]
    return nodes[int(os.environ.get("SLURM_NODEID", "0"))]


def first_host(nodes: str) -> str:
    """The first of SLURM's hosts: gpu-07 of gpu-[07-09,12],login."""
    first = re.match(r"(?P<start>[^,\[]+)(?:\[(?P<number>\d+)[^\]]*\](?P<end>[^,\[]*))?", nodes)
    assert first, "SLURM lists hosts by name"
    return first["start"] + (first["number"] or "") + (first["end"] or "")
