"""The line that a log has of each evaluation."""

from types import SimpleNamespace
from typing import Any

from dp_real.loop import pace
from dp_real.loop.pace import Pace, line
from dp_real.loop.state import LoopState

ROW = {"step": 500, "val_accuracy": 0.6321, "pool_size": 32_000, "seconds": 1800.0}


def test_training_is_measured_between_evaluations(monkeypatch: Any):
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loader: Any = SimpleNamespace(waited=5.0)
    measured = Pace(loader)
    state = LoopState(1000, seen=100)
    assert measured.stop(state) == {}
    measured.go(state)
    now[0] = 4.0
    measured.go(state)
    state.seen = 500
    loader.waited = 6.0
    assert measured.stop(state) == {"images_per_second": 100.0, "waiting_share": 0.25}
    assert measured.stop(state) == {}


def test_the_line_says_where_a_run_is():
    facts = {"images_per_second": 11400.4, "waiting_share": 0.021, "gpu_memory": 61e9, "gradient_norm": 1.2345}
    assert line(ROW, facts, 5000) == (
        "step 500 of 5,000, accuracy 63.2%, pool 32,000, 11,400 rows/s, 2% of the time waiting for rows, "
        "61.0 GB of the GPU, gradient 1.23, 4.5 h left"
    )
    assert line(ROW, {}, 600) == "step 500 of 600, accuracy 63.2%, pool 32,000, 6 min left"
