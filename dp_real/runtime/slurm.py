"""SLURM's tasks as processes of one run: `srun dp real run …`, a task per GPU. Needs no torch."""

import os
import re

PORTS = range(20_000, 30_000)  # below those that systems give to outgoing connections


def adopt_tasks() -> None:
    """If srun started this process beside others, tell torch its rank, as torchrun would.

    Nothing changes if torchrun did already, or if the process is srun's only one. A batch script is no task of srun,
    though SLURM numbers it like one.
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
    """The first of SLURM's list of hosts: gpu-07 of gpu-[07-09,12],login."""
    first = re.match(r"[^,\[]+(?:\[(?P<number>\d+)[^\]]*\](?P<rest>[^,\[]*))?", nodes)
    assert first, "SLURM lists hosts by name"
    return first[0].partition("[")[0] + (first["number"] or "") + (first["rest"] or "")
