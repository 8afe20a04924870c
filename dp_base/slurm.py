"""Makes SLURM's tasks the processes of one run, `srun dp real run …` with a task for each GPU, without torch."""

import os
import re
from collections.abc import Mapping

PORTS = range(20_000, 30_000)  # below the ports that systems give to outgoing connections


def adopt_tasks() -> None:
    """Tell torch this process's rank as torchrun would, if srun started it; a batch script is no task."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "RANK" in os.environ:
        return
    job = int(os.environ.get("SLURM_JOB_ID", "0")) + int(os.environ.get("SLURM_STEP_ID", "0"))
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    # Tasks that are bound to cores of their own have no need to share all of them (dp_real.distributed.own_cores).
    if len(os.sched_getaffinity(0)) == os.cpu_count():
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(tasks_here(os.environ)))
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ["SLURM_STEP_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", str(PORTS[job % len(PORTS)]))


def tasks_here(environment: Mapping[str, str]) -> int:
    """This step's tasks on this node, of SLURM's counts: 8(x2),4 are 8, 8 and 4."""
    counts = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    nodes: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        nodes += [int(count)] * int(times or 1)
    return nodes[int(environment.get("SLURM_NODEID", "0"))]


def first_host(nodes: str) -> str:
    """The first of SLURM's hosts: gpu-07 of gpu-[07-09,12],login."""
    first = re.match(r"(?P<start>[^,\[]+)(?:\[(?P<number>\d+)[^\]]*\](?P<end>[^,\[]*))?", nodes)
    assert first, "SLURM lists hosts by name"
    return first["start"] + (first["number"] or "") + (first["end"] or "")
