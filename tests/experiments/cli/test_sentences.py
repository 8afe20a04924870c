"""What a sentence claims is a value that the code returns: the advice fits its cause."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.real.remarks import missed_aim, too_few
from dp_experiments.cli.theory.check import verdict
from dp_experiments.paper.figures import fig2_digits, fig5d_digits, fig6_digits
from dp_experiments.presets.presets import load_preset
from dp_experiments.show.report.facts import readable_time

from dp_real.plan.needs import readable_size
from tests.commands import done, told
from tests.experiments.conftest import COMPARED
from torture.attempt import SMALL

AUTO = load_preset("digits", ["guidance.omega='auto'"])


@pytest.mark.parametrize(("omega", "end", "advice"), [(1e-9, "lowest", "raise it"), (1e9, "highest", "lower it")])
def test_a_strength_at_its_end_says_which_way_its_aim_is_wrong(omega, end, advice):
    rounds = pd.DataFrame({"round": [0, 1], "omega": [0.0, omega], "fraction_wrong": [0.1, 0.25]})
    remark = str(missed_aim(SimpleNamespace(config=AUTO, rounds=rounds)))
    assert f"25% of the last round's rows are wrong to the learner, and the strength is at its {end}" in remark
    assert advice in remark


def test_additions_that_are_missing_are_told_and_no_others():
    planned = AUTO.practice.additions
    few = load_preset("digits", ["data.real_per_class=20"])  # which are in the pool, and were not made
    assert too_few(planned, few) is None
    remark = str(too_few(planned - 1, few))
    assert f"{AUTO.samples - 100:,} of {AUTO.samples:,} samples came into the pool: patience" in remark
    assert "lower practice.patience" in remark


@pytest.mark.parametrize("every", [10, 1000])
def test_a_plan_warns_if_patience_takes_more_steps_than_there_are(every):
    command = f"real plan digits --set practice.evaluate_every={every}"
    costs = told(command)
    assert (costs["waiting_steps"] > costs["constant_steps"]) == (every == 1000)
    assert ("NOT EVERY ADDITION" in done(command).err) == (every == 1000)


def test_in_how_many_runs_a_strength_is_at_its_end(compared, patch):
    """Both runs of one arm have such a remark, of which the last is quoted."""
    patch(
        "dp_experiments.cli.real.compare.missed_aim",
        lambda run: f"no further {run.config.seed}" if run.config.practice.additions else None,
    )
    _, out, said = done("real compare", *SMALL, COMPARED, "--workers 1 --resume --out", compared)
    assert "\ttest_accuracy\t" in out
    assert "practice: in 2 of 2 runs, in the last of them: no further 2\n" in said
    assert said.count("no further") == 1


def test_a_loops_z_is_simulation_less_theory_over_its_standard_error():
    stages = told("theory practice --rounds 1 --lam 0.1 --d 40 --trials 4")["stages"]
    for row in stages:
        assert row["z"] == pytest.approx((row["simulated"] - row["test_error"]) / row["se"])


def test_sizes_and_effects_are_told_in_a_unit_that_fits():
    sizes = [readable_size(number) for number in (0, 30_000, 2.4e6, 9.9e9, 2e10)]
    assert sizes == ["0 kB", "30 kB", "2 MB", "9,900 MB", "20 GB"]
    rows = pd.DataFrame({"effect": [766_415.86, -0.3]})
    assert verdict(SimpleNamespace(gaussian="fails", law="fails", assumptions=rows)).endswith(
        "errors are a factor of 7.66e+05 off what it predicts, and -30% off what the measured law predicts"
    )


def test_times_are_told_in_a_unit_that_fits():
    assert [readable_time(seconds) for seconds in (0.576, 36, 119, 120, 7199, 7200, 172800)] == [
        "0.576 seconds",
        "36 seconds",
        "119 seconds",
        "2.0 minutes",
        "120.0 minutes",
        "2.0 hours",
        "2.0 days",
    ]


@pytest.fixture
def drawn_of(patch):
    """The table of a figure of digits whose runs are all this one."""

    def compute(module, run, quick=True):
        done = SimpleNamespace(run_folder=lambda arm, seed: arm)
        patch(module, "digits_arms", lambda *arguments, **options: (None, done))
        patch(module, "Run", lambda folder: run)
        return module.compute(quick)

    return compute


def test_figure_6_shows_errors(patch, drawn_of):
    """Of the samples that were wrong when added, all are wrong to the learner of that moment; splits are the units."""
    before = itertools.cycle([0.6, 0.7, 0.8, 0.9])  # by split

    def rows(run):
        wrong = {100: next(before), 200: 1.0, 300: 0.0}
        return [{"round": 1, "pool_size": size, "wrong_again": share} for size, share in wrong.items()]

    patch(fig6_digits, "hindsight", rows)
    table = drawn_of(fig6_digits, None, quick=False)
    np.testing.assert_allclose(table["y"], [75, 100, 0])
    np.testing.assert_allclose(table["y_high"] - table["y"], [np.std([60, 70, 80, 90], ddof=1) / 2, 0, 0])


def test_figure_2_shows_percent_and_when_data_were_added(drawn_of):
    every = AUTO.practice.evaluate_every
    metrics = pd.DataFrame({"step": [every, 2 * every], "train_loss": [2.0, 1.0], "val_accuracy": [0.25, 0.5]})
    run = SimpleNamespace(metrics=metrics, rounds=pd.DataFrame({"round": [0, 1], "step": [0, 2 * every]}))
    table = drawn_of(fig2_digits, run).query("series == '1 addition'").set_index(["quantity", "x"])
    assert table["y"].tolist() == [2.0, 1.0, 25.0, 50.0]
    assert table["added"].tolist() == [False, True] * 2


def test_figure_5d_names_the_best_of_each_kind():
    rows = [(fig5d_digits.PRUNED, 2, 95.0, 10.0), (fig5d_digits.PRUNED, 5, 94.0, 20.0)]
    rows += [(fig5d_digits.GUIDED, 0.02, 96.0, 5.0), (fig5d_digits.GUIDED, 0.08, 90.0, 5.0)]
    table = pd.DataFrame(rows, columns=["series", "setting", "y", "x"]).assign(se=0.1, n_seeds=4)
    caption = fig5d_digits.caption(table)
    assert "The best ratio, 2, reaches 95.00 ± 0.10 %, the best strength, 0.02, 96.00 ± 0.10 % at 0.5 times" in caption
