"""What a sentence claims is a value that the code returns: the advice fits its cause."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.real.remarks import at_limit, too_few
from dp_experiments.paper.figures import fig6_digits
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.report.facts import readable_time

from dp_real.practice.rounds import end_of_range
from tests.commands import done, told

AUTO = load_preset("digits", ["guidance.omega='auto'"])


@pytest.mark.parametrize(("omega", "end", "advice"), [(1e-9, "lowest", "raise it"), (1e9, "highest", "lower it")])
def test_a_strength_at_its_end_says_which_way_its_aim_is_wrong(omega, end, advice):
    assert end_of_range(AUTO, omega) == end
    rounds = pd.DataFrame({"round": [0, 1], "omega": [0.0, omega], "fraction_wrong": [0.1, 0.25]})
    remark = str(at_limit(SimpleNamespace(config=AUTO, rounds=rounds)))
    assert f"the strength is at its {end}; 25% of the last round's rows are wrong" in remark
    assert advice in remark


def test_additions_that_are_missing_are_told_and_no_others():
    planned = AUTO.practice.additions
    assert too_few(AUTO.samples, planned, AUTO) is None
    assert "lower practice.patience" in str(too_few(AUTO.samples - 100, planned - 1, AUTO))


@pytest.mark.parametrize("every", [10, 1000])
def test_a_plan_warns_if_patience_takes_more_steps_than_there_are(every):
    command = f"real plan digits --set practice.evaluate_every={every}"
    costs = told(command)
    assert (costs["waiting_steps"] > costs["constant_steps"]) == (every == 1000)
    assert ("NOT EVERY ADDITION" in done(command).err) == (every == 1000)


def test_a_loops_z_is_simulation_less_theory_over_its_standard_error():
    stages = told("theory practice --rounds 1 --lam 0.1 --d 40 --trials 4")["stages"]
    for row in stages:
        assert row["z"] == pytest.approx((row["simulated"] - row["test_error"]) / row["se"])


def test_times_are_told_in_a_unit_that_fits():
    assert [readable_time(seconds) for seconds in (36, 119, 120, 7199, 7200, 172800)] == [
        "36 seconds",
        "119 seconds",
        "2.0 minutes",
        "120.0 minutes",
        "2.0 hours",
        "2.0 days",
    ]


def test_figure_6_shows_errors(monkeypatch):
    """Of the samples that were wrong when added, all are wrong to the learner of that moment."""
    rows = [
        {"round": 1, "pool_size": size, "wrong_again": wrong} for size, wrong in ((100, 0.6), (200, 1.0), (300, 0.0))
    ]
    monkeypatch.setattr(fig6_digits, "digits_arms", lambda *args, **options: (None, SimpleNamespace(run_folder=print)))
    monkeypatch.setattr(fig6_digits, "Run", lambda folder: None)
    monkeypatch.setattr(fig6_digits, "hindsight", lambda run: rows)
    table = fig6_digits.compute(quick=True)
    np.testing.assert_allclose(table["y"], [60, 100, 0])
