"""The sweep's table: what each strategy is charged, that its points are its theory's, and that its checks can fail."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dp_theory import Direct, Entropy, KeepHard, Problem, predict, simulate, sweep
from dp_theory.budgets.sweeps import steps
from dp_theory.budgets.winners import noise_check, winners
from tests.refusals import out_of_range, refused

SMALL = {"d": 64, "trials": 40, "n": [40, 150, 600]}


@pytest.fixture(scope="module")
def table():
    return sweep(0.5, x="compute", **SMALL)


def test_every_strategy_and_rule_has_a_line_and_points(table):
    expected = {"static"} | {
        f"{s} {r}" for s in ("prune", "direct") for r in ("keep-hard", "keep-easy", "random", "entropy")
    }
    for _, rows in table.groupby("kind"):
        assert set(rows["series"]) == expected
    assert (table.query("kind == 'simulated'").groupby("series").size() == 3).all()
    assert set(table["n_seeds"]) == {0, 40}


def test_simulated_points_lie_on_the_predicted_lines(table):
    check = noise_check(table)
    assert check["points"] == 27
    assert check["largest_z"] < check["noise_level"]
    assert check["largest_se"] < 0.02
    points = table.query("kind == 'simulated'")
    assert_allclose(points["z"] * points["se"], points["y"] - points["predicted"])
    assert_allclose(points["y_high"] - points["y_low"], 2 * points["se"])
    assert points["z"].std() > 0.5  # standard errors are not inflated


def test_one_trial_has_neither_z_nor_its_limit():
    check = noise_check(sweep(0.5, rules="keep-hard", d=16, trials=1, n=8))
    assert np.isnan([check["largest_z"], check["noise_level"]]).all()


def test_costs(table):
    p = float(KeepHard(0.5).moments(0.0).p)
    at = table.query("kind == 'simulated' and generated == 600").set_index("series")
    assert at.loc["static", ["kept", "compute"]].tolist() == pytest.approx([600, 600 + 60])
    assert at.loc["prune keep-hard", ["kept", "compute"]].tolist() == pytest.approx([600 * p, 600 + 60 * p])
    assert at.loc["direct keep-hard", ["kept", "compute"]].tolist() == pytest.approx([600, 1.82 * 600 + 60])
    assert at.loc["direct random", "compute"] == pytest.approx(660)  # nothing to guide
    assert (table["x"] == table["compute"]).all()


def test_progress_is_told():
    done = []
    rules = ["keep-hard", "entropy", "entropy@kappa=2"]
    sweep([0.3, 0.5], rho=[0.5, 0.5, 0.8], rules=rules, d=16, trials=2, n=[8, 20], workers=2, advance=done.append)
    assert sum(done) == steps([0.3, 0.5], [0.5, 0.5, 0.8], rules, 2) == 56


def test_a_rule_brings_its_parameters_into_a_sweep_and_keeps_as_many_rows_as_others():
    table = sweep(0.5, rules=["entropy", "entropy@kappa=4"], d=16, trials=2, n=64)
    lines = table.query("kind == 'predicted' and generated == 64").set_index("series")
    p = float(KeepHard(0.5).moments(0.0).p)
    for suffix, kappa in (("", 1.0), ("@kappa=4", 4.0)):
        rule = Entropy.with_keep_fraction(p, kappa)
        pruned, direct = Problem(rule, 0.9, 16 / 64, p * 0.01), Problem(Direct(rule), 0.9, 16 / 64, 0.01)
        for strategy, problem in (("prune", pruned), ("direct", direct)):  # Theorem 1's ridge is per pool row
            want = predict(problem).test_error
            assert lines.loc[f"{strategy} entropy{suffix}", "y"] == pytest.approx(want, rel=1e-9)


def test_points_of_the_dense_engine_are_experiments():
    points = sweep(0.5, rules="keep-hard", d=12, trials=3, n=[12, 48], engine="dense").query("kind == 'simulated'")
    rows = points[points["strategy"] == "prune"]
    p = float(KeepHard(0.5).moments(0.0).p)
    runs = simulate(Problem(KeepHard(0.5), 0.9, np.array([1.0, 0.25]), p * 0.01), 12, 3)
    assert_allclose([rows["y"], rows["se"]], [runs.test_error, runs.test_error_se])


def test_winners_partition_the_axis():
    table = sweep(0.5, d=512, trials=1, n=[128, 8192])
    best = winners(table)
    assert best["from"].iloc[0] == 128
    assert best["to"].iloc[-1] == 8192
    assert (best["from"].to_numpy()[1:] == best["to"].to_numpy()[:-1]).all()
    # few rows: easy ones; many: hard ones (theory: Kolossov et al. 2024; Sorscher et al. 2022)
    assert [best["series"].iloc[0], best["series"].iloc[-1]] == ["direct keep-easy", "direct keep-hard"]
    lines = table.query("kind == 'predicted'")
    for _, row in best.iterrows():
        middle = lines[(lines["x"] >= row["from"]) & (lines["x"] < row["to"])]
        errors = middle.pivot_table(index="x", columns="series", values="y")
        assert (errors.idxmin(axis=1) == row["series"]).all()


TINY = {"d": 8, "trials": 1}
test_numbers_out_of_range_are_refused = out_of_range(
    (partial(sweep, **TINY), {"n": 0, "d": 1, "trials": 0, "alpha": 0.0, "rho": 1.5, "lam_per_row": -1.0})
)
test_bad_input_is_named = refused(
    {
        "keep-hard cannot take part: all rules of a sweep keep 0.382925": lambda: sweep(
            rules=["keep-hard@alpha=1"], **TINY
        ),
        "keep-easy cannot take part: all rules of a sweep keep 1": lambda: sweep(alpha=20.0, **TINY),
    }
)
