"""The exponents of practice and of its rivals: predicted ones are known, and simulated ones agree."""

from dataclasses import replace

import numpy as np
import pytest

from dp_theory.budgets.exponents import scaling
from dp_theory.loop import PracticeProblem, Window
from tests.dp_theory.loop.loops import HARD_ROWS, L1

STRATEGIES = 6
AXES = 3


def test_exponents_per_axis():
    """Static −1/2; pooled practice −1.13 per kept row, −.51 per candidate; newest rows geometric, −1 per candidate."""
    table = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 10)).exponents.set_index(["series", "axis"])
    exponent = table["exponent"]
    steepening = table["steepening"]
    for axis in ("kept", "generated", "compute"):
        assert exponent["static", axis] == pytest.approx(-0.5, abs=0.01)
    assert exponent["practice", "kept"] == exponent["practice", "generated"] == pytest.approx(-1.138, abs=2e-3)
    assert exponent["prune each round", "generated"] == pytest.approx(-0.509, abs=2e-3)
    assert exponent["prune, newest rows", "generated"] == pytest.approx(-1, abs=0.01)
    assert steepening["practice, newest rows", "kept"] == pytest.approx(1, abs=0.01)
    assert abs(steepening["practice", "kept"]) < 0.01


@pytest.mark.slow
def test_simulated_exponents_agree():
    result = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 5), d=150, trials=12, seed=5)
    kept = result.exponents.query("axis == 'kept'")
    assert np.abs((kept["simulated"] - kept["exponent"]) / kept["simulated_se"]).max() < 4
    kinds = {"predicted", "simulated"}
    stages = 6
    assert set(result.curves["kind"]) == kinds
    assert len(result.curves) == len(kinds) * AXES * STRATEGIES * stages


def test_every_strategy_is_reported_as_it_is_done():
    done = []
    scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 4), advance=done.append)
    assert done == [1] * STRATEGIES


def test_one_run_has_points_without_error_bars():
    points = scaling(replace(L1, additions=[HARD_ROWS] * 4), d=10, trials=1).curves.query("kind == 'simulated'")
    assert points["y"].notna().all()
    assert points[["y_low", "y_high"]].isna().all(axis=None)
