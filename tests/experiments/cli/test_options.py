"""What the options of several commands mean where they are left out."""

import pytest
import torch

from experiments.cli.options import at_a_time


@pytest.mark.parametrize(("gpus", "asked", "expected"), [(0, None, 2), (8, None, 8), (1, None, 1), (8, 3, 3)])
def test_there_is_a_worker_for_each_gpu(gpus: int, asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert at_a_time(asked) == expected


def test_gpus_that_are_hidden_get_no_worker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert at_a_time(None) == 2
