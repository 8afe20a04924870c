"""Workers have a GPU each, as far as there are as many."""

import os
import time

import pytest
import torch

from experiments.compare import _parallel


def seen(wait: float) -> tuple[int, str | None]:
    time.sleep(wait)  # so that each worker gets a job
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("workers", "expected"), [(2, {"4", "6"}), (3, {"4", "6"})])
def test_a_gpu_a_worker(workers: int, expected: set[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    found = set(_parallel(workers, seen, [(0.5,)] * 6))
    assert {gpu for _, gpu in found} == expected
    assert len(found) == len({process for process, _ in found}) <= workers  # a worker keeps its GPU


def test_without_gpus_nothing_is_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert {gpu for _, gpu in _parallel(2, seen, [(0.0,)] * 3)} == {None}
