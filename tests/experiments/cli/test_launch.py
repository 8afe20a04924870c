"""One command, several processes: started by the command itself, or by srun."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import psutil
import pytest
from dp_experiments.cli import launch
from dp_experiments.compare.compare import run_arms
from dp_experiments.presets.presets import load_preset
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from dp_base import launcher
from tests.commands import refused
from tests.refusals import refusal
from tests.waiting import until
from torture.attempt import SMALL_SETTINGS, as_options

SET = as_options(SMALL_SETTINGS | {"training.steps": 30, "practice.evaluate_every": 10, "threads": 1})
TWO = "from dp_experiments.cli import launch; launch.process_count = lambda: 2\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_a_run_in_two_processes_takes_the_steps_of_one(tmp_path):
    """Its result is the whole of stdout."""
    run = ("real", "run", "digits", *SET, "--out", str(tmp_path / "run"), "--json")
    done = subprocess.run([sys.executable, "-c", TWO + launch.CODE, *run], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "2 processes share the work"
    result = json.loads(done.stdout)
    assert (result["processes"], result["samples_seen"]) == (2, 30 * 64)


SLOW_CHECKPOINTS = """
import time
from dp_real.runs import folder
own = folder.RunFolder.checkpoint
def slowly(self, state, *rest, **named):
    time.sleep(3 if state.step and self._main else 0)
    own(self, state, *rest, **named)
folder.RunFolder.checkpoint = slowly
"""


@pytest.mark.slow
def test_no_rank_leaves_before_the_checkpoint_is_whole(tmp_path):
    """Signalled one by one, as srun does: it may kill all others once one has left with another status than 0."""
    out = tmp_path / "run"
    long = ("--set", "training.steps=100000", "--out", str(out))
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW_CHECKPOINTS + launch.CODE, "real", "run", "digits", *SET, *long],
            env=os.environ | {"OMP_NUM_THREADS": "1", "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} | TASK,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    until((out / "metrics.jsonl").exists, 100)
    tasks[1].send_signal(signal.SIGTERM)
    _, err = tasks[1].communicate(timeout=240)
    (latest,) = (out / "checkpoints").glob("latest-*")  # as soon as rank 1 has left
    assert json.loads((latest / "state.json").read_text())["step"] > 0
    tasks[0].communicate(timeout=240)
    assert [task.returncode for task in tasks] == [130, 130], err


def test_restarts_end_where_nothing_is_gained(tmp_path, patch, capsys):
    """A failure that comes again is none of the moment; wrong input is not tried again."""
    asked = []
    words = ("real", "run", "digits", "--set", "a=1", "--json")
    patch(launch, "run_together", lambda count, *arguments: asked.append(arguments) or 1)
    (tmp_path / "checkpoints" / "step-000000010-rounds-0001").mkdir(parents=True)
    assert launch.run_and_restart(2, tmp_path, *words) == 1
    assert asked[1:] == launch.RESTARTS * [("real", "resume", str(tmp_path), "--json")]
    said = re.findall(r"restart (\d) of 3 from step-000000010-rounds-0001", capsys.readouterr().err)
    assert said == ["1", "2", "3"]
    patch(launch, "run_together", lambda count, *arguments: asked.append(arguments) or 2)
    asked.clear()
    assert launch.run_and_restart(2, tmp_path, *words) == 2
    assert len(asked) == 1


def test_how_many_processes(monkeypatch, patch, tmp_path):
    patch("torch.cuda.device_count", lambda: 8)
    assert launch.process_count() == 8
    monkeypatch.setenv("RANK", "5")
    assert launch.process_count() == 1  # torchrun or srun has started all that there are
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert "dp real tune runs in one process, not 8" in refused("real tune digits")
    with refusal("a comparison runs in one process, not 8"):  # a program hung here
        run_arms(load_preset("digits"), ["static"], 1, 1, tmp_path, 1)
    patch("torch.cuda.device_count", lambda: 0)
    assert launch.process_count() == 1


def test_the_signal_that_ended_a_process_is_told(monkeypatch, capsys):
    """A process that the system kills, as for want of memory, cannot say so itself."""
    failure = ProcessFailure(local_rank=5, pid=1, exitcode=-signal.SIGKILL, error_file="none")

    def failed(*arguments):
        raise ChildFailedError("dp", {5: failure})

    for name in ("OMP_NUM_THREADS", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *_: failed)
    assert launch.run_together(8, "real", "run", "digits") == 1
    assert "dp: rank 5 was ended by SIGKILL, perhaps because the machine ran out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu-[07-09,12],login", "gpu-07"),
        ("a,b", "a"),
        ("rack[3,5]n1,x", "rack3n1"),
        ("rack[3,5]n[07-9],x", "rack3n07"),
    ],
)
def test_the_first_of_slurms_hosts(nodes, first):
    assert launcher.first_host(nodes) == first


@pytest.mark.parametrize(("counts", "node", "tasks"), [("8", 0, 8), ("8(x2),4", 1, 8), ("8(x2),4", 2, 4)])
def test_tasks_that_are_bound_to_no_cores_share_those_of_their_node(counts, node, tasks, patch):
    named = {"SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": str(node), "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    patch(os, "environ", {**TASK, **named})
    patch(os, "sched_getaffinity", lambda process: set(range(os.cpu_count() or 1)))
    launcher.adopt_tasks()
    assert os.environ["LOCAL_WORLD_SIZE"] == str(tasks)


@pytest.mark.parametrize(
    ("address", "here", "chosen"), [("127.0.1.1", "1", True), ("127.0.1.1", "2", False), ("192.0.2.7", "1", False)]
)
def test_gloo_takes_no_address_that_other_nodes_cannot_reach(address, here, chosen, patch):
    """Here the first node is reached by the loopback interface, whatever it is called."""
    patch(os, "environ", {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": here, "MASTER_ADDR": "127.0.0.1"})
    patch(socket, "gethostbyname", lambda name: address)
    launcher.adopt_interface()
    loopback = [name for name, each in psutil.net_if_addrs().items() if "127.0.0.1" in (one.address for one in each)]
    assert os.environ.get("GLOO_SOCKET_IFNAME") == (loopback[0] if chosen else None)


TASK = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0"}


def test_a_batch_script_is_no_task(monkeypatch):
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "32", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    launcher.adopt_tasks()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")  # without what srun tells a task
    launcher.adopt_tasks()
    assert "RANK" not in os.environ
