"""Several processes (torchrun, gloo): the same pool from the same learner, agreement on errors and on stopping."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dp_experiments.presets.presets import load_preset
from torch.nn.parallel import DistributedDataParallel

from dp_base.errors import DamagedError
from dp_real import Pool, Practice, Run, run
from dp_real.pool.pool import read_round
from dp_real.runs.files import kept_checkpoints
from dp_real.runtime import distributed
from dp_real.runtime.distributed import LostError, exchange
from tests.dp_real.conftest import changed
from tests.dp_real.pool.made import SHAPE, batch
from tests.dp_real.practice.small import Sampler, net
from tests.dp_real.runs.folders import all_rows, traces
from tests.refusals import refusal

RUN = """
import sys
from dp_real import load_config, run
arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
for config, folder in zip(arguments[::2], arguments[1::2]):
    run(load_config(config), folder, resume="--resume" in sys.argv)
"""


@pytest.fixture
def launch(tmp_path):
    """Starts this code in so many processes."""

    def launched(code, processes, *arguments):
        (tmp_path / "script.py").write_text(code)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return subprocess.Popen(
            [*command, *map(str, (tmp_path / "script.py", *arguments))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return launched


def finished(process):
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    return out


MAIN_DECIDES = """
from dp_real.learners.models.network import NetworkLearner
from dp_real.runs import loop
from dp_real.runtime.distributed import this_process
drained, measured = NetworkLearner.drain_loss, loop.accuracies
NetworkLearner.drain_loss = lambda self: drained(self) if this_process().is_main_process else float("nan")
loop.accuracies = lambda *given: tuple(each - this_process().process_index for each in measured(*given))
"""
SAME_STATISTICS = """
import torch
from torch import nn
from dp_real.runtime import distributed
from dp_real.data.examples import Task
from dp_real.learners.models.network import NetworkLearner
from dp_real.learners.section import TrainingConfig
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
module(torch.zeros(2, 1, 8, 8))
learner = NetworkLearner(module, Task((1, 8, 8), tuple("abc")), TrainingConfig(steps=5), seed=0)
rank = distributed.this_process().process_index
for step in range(5):
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(2 * step + rank)) * (1 + rank)
    learner.train_step(x, torch.arange(8) % 3)
first, *others = distributed.gather([learner.logits(torch.ones(2, 1, 8, 8)).detach()])
assert len(others) == distributed.this_process().num_processes - 1
assert all(torch.equal(first, other) for other in others), "each process would find other samples hard"
"""


def goes_on(alone, copy, launch, processes, program):
    """A copy of a run, set back to its first checkpoint and resumed by several processes."""
    shutil.copytree(alone, copy)
    (copy / "result.json").unlink()
    later = [each.path for each in kept_checkpoints(copy / "checkpoints")[1:]]
    for folder in (*later, *copy.glob("checkpoints/latest-*")):
        shutil.rmtree(folder)
    finished(launch(program, processes, copy / "config.toml", copy, "--resume"))
    return copy


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_next_round_is_the_same_bit_for_bit_in_any_number_of_processes(config, launch, tmp_path, processes):
    """Each goes on from the first checkpoint. They outlive a dashboard: the evaluation needs them together again.

    Layers that gather statistics have the same everywhere. Losses and accuracies are those of the main process.
    """
    alone = tmp_path / "alone"
    run(changed(config, "guidance.omega=auto", tracker="tensorboard"), alone)
    together = goes_on(alone, tmp_path / "together", launch, processes, MAIN_DECIDES + RUN + SAME_STATISTICS)
    assert all_rows(together)[:100] == all_rows(alone)[:100]
    assert traces(together)["rounds.jsonl"][1] == traces(alone)["rounds.jsonl"][1]
    assert Run(together).result["processes"] == processes


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_whole_runs_agree_statistically(config, launch, tmp_path, processes):
    """One process and several make the same steps. First rounds agree bit for bit, and accuracies within noise."""
    pairs = [(tmp_path / f"alone-{seed}", tmp_path / f"together-{seed}") for seed in range(12)]
    arguments = []
    for seed, (alone, together) in enumerate(pairs):
        run(changed(config, seed=seed), alone)
        arguments += [alone / "config.toml", together]
    finished(launch(RUN, processes, *arguments))
    gaps = []
    for pair in pairs:
        first, again = (all_rows(folder)[:60] for folder in pair)
        assert first == again
        results = [Run(folder).result for folder in pair]
        assert [result["processes"] for result in results] == [1, processes]
        assert results[0]["samples_seen"] == results[1]["samples_seen"] == 120 * 64
        gaps.append(results[1]["test_accuracy"] - results[0]["test_accuracy"])
    gap = np.mean(gaps)
    error = np.std(gaps, ddof=1) / len(gaps) ** 0.5
    assert error < 0.015  # or agreement would say little
    assert abs(gap) <= 2.5 * error  # both are 0 where no rounding tips a prediction


FAILS_ALONE = """
import sys, time
import torch
from dp_base.errors import DivergedError
from dp_real.runtime import distributed
from dp_real.runs.loop import TrainingLoop
from dp_experiments.cli.main import main
def fails(self):
    if distributed.this_process().process_index == 1:
        raise DivergedError("broken")
    distributed.gather([0])
TrainingLoop.evaluate = fails
torch.distributed.destroy_process_group = lambda *_: time.sleep(600)  # as nccl may wait for peers
main()
"""


@pytest.mark.slow
def test_a_failure_of_one_process_is_reported_and_ends_them_all(launch, tmp_path, config):
    (tmp_path / "config.toml").write_text(config.to_toml())
    process = launch(FAILS_ALONE, 2, "real", "run", tmp_path / "config.toml", "--out", tmp_path / "run")
    out, _ = process.communicate(timeout=180)  # twenty seconds on two idle cores; the patience of a hang is 600
    assert process.returncode != 0
    (told,) = (line for line in out.splitlines() if line.startswith("dp:"))
    assert told.startswith("dp: rank 1: step 10: broken; the last good checkpoint stays: ")


HANGS = """
import time
from datetime import timedelta
from dp_real.runtime import distributed
distributed.LATE, distributed.LIMIT = 1, timedelta(seconds=2)
if distributed.this_process().process_index == 1:
    time.sleep(120)
distributed.wait_for_everyone()
"""


@pytest.mark.slow
def test_a_process_that_does_not_come_is_named_and_ends_the_run(launch):
    process = launch(HANGS, 2)
    out, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "this process has waited 1 s for the others" in out
    assert "other processes ended or hang, or the network failed ([Rank 0]: Rank 1 failed to pass" in out


AT_THE_END = """
import atexit, socket
from pathlib import Path
def gloo():
    return any("gloo" in path.read_text() for path in Path("/proc/self/task").glob("*/comm"))
atexit.register(lambda: print(f"left: {gloo()}\\n", end=""))
from dp_real.runtime import distributed
try:
    distributed.on_main(lambda: 1 / 0)
except ZeroDivisionError:
    print(f"raised: {gloo()}\\n", end="")
class Two(Exception):
    def __init__(self, kind, place):
        super().__init__(f"{kind} at {place}")
class Open(Exception):
    def __init__(self, place):
        super().__init__(place)
        self.socket = socket.socket()
def fails(error):
    raise error
for unsendable in Two("a fault", "home"), Open("home"):
    try:
        distributed.on_main(lambda: fails(unsendable))
    except Exception as error:
        print(f"told: {error}\\n", end="")
"""


@pytest.mark.slow
def test_an_error_of_the_main_process_is_raised_in_all_and_no_thread_outlives_the_process_group(launch):
    """One that lets go of an object while the interpreter ends would abort the process."""
    said = finished(launch(AT_THE_END, 2)).splitlines()
    lines = ["left: False", "raised: True", "told: Open: home", "told: Two: a fault at home"]
    assert sorted(line for line in said if ": " in line) == sorted(2 * lines)


@pytest.mark.slow
def test_a_latent_pipelines_rounds_are_the_same_and_each_process_writes_its_own(launch, tmp_path):
    """The run has prompts, classifier-free guidance, a VAE and JPEGs, as Stable Diffusion with random weights."""
    small = ["practice.initial=100", "practice.increment=40", "training.batch_size=8", "sampling.block_size=10"]
    alone = tmp_path / "alone"
    run(load_preset("imagenet100-smoke", small), alone)
    together = goes_on(alone, tmp_path / "together", launch, 2, RUN)
    assert all_rows(together)[:140] == all_rows(alone)[:140]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RuntimeError("Connection closed by peer"), LostError, "(Connection closed by peer)"),
        (RuntimeError("NCCL error\n\nLast error:\nDuplicate GPU"), LostError, "(NCCL error … Duplicate GPU)"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_a_failed_exchange_tells_its_cause(error, kind, told):
    with pytest.raises(kind, match=re.escape(told)), exchange():
        raise error


@pytest.mark.parametrize(
    "half", [{"PMI_SIZE": "2"}, {"OMPI_COMM_WORLD_SIZE": "2"}, {"WORLD_SIZE": ""}, {"RANK": "0"}, {"RANK": "2"}]
)
def test_half_of_what_a_launcher_says_is_told_and_a_port_that_is_taken(half, patch):
    patch("accelerate.PartialState._shared_state", {})
    ((name, value),) = half.items()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        others = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        others = others | {"OMP_NUM_THREADS": "1"} if name == "RANK" else {}
        patch("os.environ", half | others)
        with refusal(rf"^{name}={value}.*: with these no process group can start: .* unset"):
            distributed._own_device.__wrapped__()


@pytest.mark.parametrize(
    ("world_size", "has_group", "waits"), [("1", False, False), ("2", False, True), ("2", True, False)]
)
def test_only_a_process_that_waits_for_others_ends_at_a_signal(world_size, has_group, waits, patch):
    patch("os.environ", {"RANK": "0", "WORLD_SIZE": world_size})
    patch("torch.distributed.is_initialized", lambda: has_group)
    handlers = []
    patch("torch.cuda.is_available", lambda: handlers.append(signal.getsignal(signal.SIGINT)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        distributed._own_device.__wrapped__()
    assert (handlers == [signal.SIG_DFL]) == waits


def test_a_signal_that_a_host_of_python_answers_is_left_to_it(patch):
    asked = signal.getsignal
    before = asked(signal.SIGTERM)
    patch("signal.getsignal", lambda number: None if number == signal.SIGTERM else asked(number))
    with distributed.handling_signals(signal.SIG_IGN):
        assert [asked(number) for number in (signal.SIGINT, signal.SIGTERM)] == [signal.SIG_IGN, before]


def test_a_rank_that_makes_no_sense_is_not_silent(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, reports in {"0": True, "1": False, "2": True, "-1": True, "a": True}.items():
        monkeypatch.setenv("RANK", rank)
        assert distributed.is_reporter("a fault") is reports
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE")  # it is alone
    assert distributed.is_reporter("a fault")


def test_a_node_that_sees_late_waits_for_a_round_but_not_for_ever_and_a_single_process_does_not(tmp_path, patch):
    pool = Pool(tmp_path / "pool", SHAPE)
    for index in range(2):
        pool.append(index, batch(pool, torch.full((3, *SHAPE), float(index))))
    other = Pool(pool.path, SHAPE, 1)
    with pytest.raises(DamagedError):
        pool._open(2)
    patch("dp_real.runtime.distributed.this_process", lambda: SimpleNamespace(num_processes=8))
    patch("dp_real.runtime.distributed.PAUSE", 0.0)
    patch("dp_real.runtime.distributed.VISIBLE", 0.2)
    with pytest.raises(DamagedError):
        pool._open(2)
    assert (len(pool), pool.version) == (6, 2)
    looks = []

    def late_view(folder):
        looks.append(folder)
        if len(looks) <= 2:
            raise ValueError("Not found: version 2")
        return read_round(folder)

    patch("dp_real.pool.pool.read_round", late_view)
    other._open(1)
    assert (len(looks), len(other), other.version) == (3, 6, 2)


def train(rank, processes, folder, port=None):
    """Practise as a program that starts its group itself, whatever variables say, where a port is given."""
    if port:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "1"}  # of its pods
        own_group = f"tcp://127.0.0.1:{port}"
        torch.distributed.init_process_group("gloo", init_method=own_group, rank=rank, world_size=processes)
    elif processes > 1:
        torch.distributed.init_process_group("gloo")
    keys = {"shape": (4,), "initial": 30, "increment": 12, "patience": 1, "block_size": 5, "seed": 5}
    practice = Practice(Sampler(), list("abc"), folder, **keys)
    own = net()
    model = own if processes == 1 else DistributedDataParallel(own)
    own[1].running_mean += rank  # BatchNorm has seen other samples
    own[3].bias.data += rank  # only the main process averages weights
    bias = own[3].bias.clone()
    grown = [practice.step(None if rank else metric, model) for metric in (0.5, 0.4, 0.4)]
    assert grown == [False, True, True]  # as the main process's metric says
    assert (own[1].running_mean == rank).all()
    assert own[3].bias.equal(bias)
    assert len(practice.dataset.pool) == 54
    if not rank:  # so does it load the checkpoint
        practice.load_state_dict(practice.state_dict() | {"rounds": 2})
    time.sleep(rank)  # the later round is gone when others look
    own.register_buffer("fixed", torch.zeros(2, dtype=torch.int16).expand(2, 2))  # gloo does not send its type
    practice.add(own, torch.arange(12 + rank) // (5 + rank))
    if processes > 1:
        with refusal(r"call its \.module"):  # the processes would wait for each other
            practice.add(lambda x: model(x), 11)
        torch.distributed.destroy_process_group()
        assert distributed.this_process()[:2] == (0, 1)


UNDER_TORCHRUN = """
import os, sys
from tests.dp_real.runtime.test_distributed import train
train(int(os.environ["RANK"]), 2, sys.argv[1])
"""


@pytest.mark.parametrize("by", ["spawn", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_a_practice_is_the_same_on_one_process_and_several_whoever_started_them(by, launch, tmp_path, monkeypatch):
    train(0, 1, tmp_path / "one")
    if by == "spawn":
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        started = torch.multiprocessing.spawn(train, (2, tmp_path / by, port), 2, join=False, daemon=True)
        assert started.join(240) or started.join(240)  # each is told of one process that ended
    else:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        finished(launch(UNDER_TORCHRUN, 2, tmp_path / by))
    one, several = (all_rows(tmp_path / name) for name in ("one", by))
    assert len(one) == 54
    assert str(one) == str(several)  # entropies of the initial round are nan
