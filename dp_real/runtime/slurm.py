"""Makes SLURM's tasks the processes of one run: `srun dp real run …` with a task for each GPU. It needs no torch."""

import os
import re

PORTS = range(20_000, 30_000)  # below the ports that systems give to outgoing connections


def adopt_tasks() -> None:
    """Tell torch the rank of this process, as torchrun would, if srun started the process beside others.

    Nothing changes if torchrun has done so. A batch script is no task of srun, though SLURM numbers it like one.
    """
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "RANK" in os.environ:
        return
    job = int(os.environ.get("SLURM_JOB_ID", "0")) + int(os.environ.get("SLURM_STEP_ID", "0"))
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ["SLURM_STEP_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", str(PORTS[job % len(PORTS)]))


def first_host(nodes: str) -> str:
    """Return the first of SLURM's list of hosts: gpu-07 of gpu-[07-09,12],login."""
    first = re.match(r"(?P<start>[^,\[]+)(?:\[(?P<number>\d+)[^\]]*\](?P<end>[^,\[]*))?", nodes)
    assert first, "SLURM lists hosts by name"
    return first["start"] + (first["number"] or "") + (first["end"] or "")
