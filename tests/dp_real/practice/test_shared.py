"""Runs that draw alike share their plain rows, and end as if each had drawn its own."""

import pytest

from dp_real import run
from dp_real.config.arms import arm_config
from dp_real.runs.identity import drawing_identity
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import all_rows, traces

ARMS = ("practice", "static-90@training.learning_rate=0.01", "static-64")


def test_each_ends_as_alone_and_no_block_is_drawn_twice(config, tmp_path, drawn):
    """Rows, learners' first look at them, accuracies, costs. The last block of a pool is its own if it is cut off."""
    configs = [arm_config(changed(config, "training.steps=30"), arm) for arm in ARMS]
    for index, config in enumerate(configs):
        run(config, tmp_path / f"alone{index}")
    drawn.clear()
    for index, config in enumerate(configs):
        result = run(config, tmp_path / f"shared{index}", shared=tmp_path / "drawn")
        assert traces(tmp_path / f"shared{index}") == traces(tmp_path / f"alone{index}")
        assert all_rows(tmp_path / f"shared{index}") == all_rows(tmp_path / f"alone{index}")
        assert result["seconds"] == pytest.approx(result["generation_seconds"] + result["training_seconds"])
    initial = sorted((first, count) for index, first, count in drawn if index == 0)
    assert initial == [(0, 32), (32, 28), (32, 32), (64, 26)]


def test_what_draws_otherwise_shares_nothing(config):
    own = drawing_identity(config, {})
    for setting in ("seed=1", "pool.storage=uint8", "training.precision=bfloat16"):
        assert drawing_identity(changed(config, setting), {}) != own
    for setting in ("guidance.omega=0.1", "training.steps=9"):
        assert drawing_identity(changed(config, setting), {}) == own
