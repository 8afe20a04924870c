"""Workers have a GPU each, as far as there are as many."""

import gc
import os
import signal
import time

import pytest
import torch

from dp_base.workers import in_parallel
from dp_real.runtime.distributed import visible_gpus
from tests.dp_base.worker_jobs import interrupted_at_once, seen


def test_a_gpu_a_worker(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    found = set(in_parallel(3, seen, [(0.5,)] * 6, visible_gpus()))
    assert {gpu for _, gpu in found} == {"4", "6"}
    assert len(found) == len({process for process, _ in found}) <= 3  # a worker keeps its GPU


def test_a_worker_is_none_of_the_processes_of_a_launcher(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    assert list(in_parallel(2, os.getenv, [("PMI_SIZE",)] * 2)) == [None, None]


def test_no_jobs_disturb_no_others():
    for jobs in ([], [(0.1,)] * 4):
        results = in_parallel(2, time.sleep, jobs)
    assert [*results] == [None] * 4


def test_ctrl_c_is_answered_by_the_parent_alone():
    """A terminal sends it to all; a worker that was still importing printed a traceback."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert list(in_parallel(2, interrupted_at_once, [()] * 4)) == [False] * 4
        assert interrupted_at_once()
    finally:
        signal.signal(signal.SIGINT, before)


def left_early():
    for _ in in_parallel(2, seen, [(0.0,)] * 20, batch_size=1):
        time.sleep(0.5)  # others are done, and nobody has asked for them
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("always")
def test_whoever_leaves_early_gets_no_advice(recwarn):
    with pytest.raises(KeyboardInterrupt):
        left_early()
    gc.collect()
    assert not [str(each.message) for each in recwarn]
