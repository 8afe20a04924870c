"""`dp theory predict | simulate | verify | sweep | practice | best | noise | classes | forecast`: answers and files."""

import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.theory.sweep import picture
from matplotlib import rcParams

from dp_theory import (
    BoundaryFlips,
    Budget,
    Entropy,
    KeepEasy,
    KeepHard,
    Problem,
    best_selection,
    optimum,
    predict,
    simulate,
    sweep,
    verification,
)
from dp_theory.noise import judged_share
from tests.commands import done, dp, refused, told
from tests.refusals import refusal

PROBLEM = "--rho 0.8 --phi 0.5 --lam 0.01"


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("sweep --d 16 --trials 2 --n 8,40", {"sweep.csv", "sweep.png", "sweep.pdf"}),
        ("practice --rounds 1 --loss logistic --lam 0.1", {"stages.csv"}),
        ("classes --classes 2 --kept 1 --rule keep-easy --lam 0.1 --tolerance 0.05", {"classes.csv"}),
        ("noise --rounds 1 --share 0.02", {"noise.csv"}),
    ],
)
def test_out_has_tables_and_pictures_and_is_not_written_twice(command, written, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert str(folder / min(written)) in done("theory", command, "--out", folder).out
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.name for path in before} == written
    assert "is not empty" in refused("theory", command, "--out", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# -- predict, simulate, verify -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--alpha 0.7", KeepHard(0.7)),
        ("--rule keep-easy --keep 0.3", KeepEasy.with_keep_fraction(0.3)),
        ("--rule entropy@omega=-3@kappa=2", Entropy(-3.0, 2.0)),
    ],
)
def test_predict_prints_what_the_package_returns(options, rule):
    answer = told("theory predict", PROBLEM, options)
    want = predict(Problem(rule, 0.8, 0.5, 0.01))
    assert answer == {key: pytest.approx(value, rel=1e-12) for key, value in vars(want).items()}


@pytest.mark.parametrize(
    "command", [f"predict {PROBLEM}", "practice --rounds 1", "sweep --d 16 --trials 1 --n 40 --out new"]
)
def test_the_rule_that_a_help_page_shows_is_taken(command, here):
    shown = re.search(r"entropy@[\w=]+", done("theory", command.split()[0], "--help").out)
    done("theory", command, "--rule", shown[0])


def test_the_interpolation_peak_is_strict_json():
    answer = told("theory predict --rule keep-all --rho 0 --phi 1")
    assert (answer["squared_norm"], answer["test_error"]) == (None, 0.5)  # an infinite norm


@pytest.mark.parametrize(
    ("phi", "lam", "remark"),
    [
        (0.1, 0.0002, "in dimension 200 the mean test error is 3% higher, to first order; --d gives it"),
        ("0.5,0.1", 0.0002, "the mean test error is up to 3% higher"),
        (0.5, 0.01, ""),
    ],
)
def test_predict_says_where_a_usual_dimension_is_far_off_the_limit(phi, lam, remark):
    err = done("theory predict --rule keep-hard --keep 0.2 --rho 0.9 --phi", phi, "--lam", lam).err
    assert remark in err if remark else not err


def test_predict_takes_lists_and_a_dimension():
    """A row for each combination; with --d the band of single experiments beside the mean."""
    rows = told("theory predict --alpha 0.5:1:3 --rho 0.5,0.9 --phi 0.2 --lam 0.01 --d 400")["table"]
    assert [(row["alpha"], row["rho"]) for row in rows] == [(a, r) for a in (0.5, 0.75, 1.0) for r in (0.5, 0.9)]
    for row in rows:
        want = predict(Problem(KeepHard(row["alpha"]), row["rho"], 0.2, 0.01), d=400)
        found = [row[name] for name in ("test_error", "low", "high", "test_error_sd")]
        assert found == pytest.approx([want.test_error, *want.band(), want.test_error_sd], rel=1e-10)


def test_simulate_prints_what_the_package_returns():
    answer = told("theory simulate", PROBLEM, "--alpha 0.7 --d 12 --trials 3 --seed 5 --engine law")
    assert answer == vars(simulate(Problem(KeepHard(0.7), 0.8, 0.5, 0.01), 12, 3, engine="law", seed=5))


def test_verify_exits_1_where_theory_is_wrong(patch):
    cells = (Problem(KeepHard(0.7), 0.8, 0.3, 0.1),)
    patch(verification, "verify", partial(verification.verify, cells, d=5000, dense_d=50))
    assert "0 disagree" in done("theory verify --trials 100").err
    wrong = Problem(KeepHard(0.7), 0.4, 0.3, 0.1)
    patch(verification, "predict", lambda problem: predict(wrong))
    assert "DISAGREES" in done("theory verify --trials 100", status=1).out


# -- sweep -------------------------------------------------------------------------------------------------------------


def test_a_sweep_has_a_row_for_each_combination_and_winners(here):
    rules = "--rule keep-hard,entropy@kappa=2"
    answer = told("theory sweep --d 16 --trials 2 --n 8,40 --rho 0.5:0.9:2", rules, "--x kept --out new")
    table = pd.read_csv("new/sweep.csv")
    assert list(table.columns[:7]) == ["series", "kind", "x", "y", "y_low", "y_high", "n_seeds"]
    assert set(table["rule"]) == {"keep-all", "keep-hard", "entropy@kappa=2"}
    assert {"table", "winners", "largest_z", "noise_level", "largest_se"} <= set(answer)


def test_one_trial_says_that_it_has_no_standard_error(here):
    said = done("theory sweep --d 16 --trials 1 --n 8,40 --rule random --out new").err
    assert "one trial has no standard error" in said
    assert "nan" not in said
    classes = "theory classes --classes 2 --kept 1 --rule random --lam 0.1 --tolerance 0.05 --trials 1"
    assert "nan" not in done(classes).out


def test_without_a_folder_the_picture_is_drawn_all_the_same(here, monkeypatch):
    monkeypatch.setitem(rcParams, "text.usetex", True)  # a user's, where there is no TeX
    _, out, err = done("theory sweep --rule keep-hard,random --d 16 --trials 2 --n 8,40")
    assert "runs/sweep.png\nruns/sweep.csv" in out
    assert "largest |z|" in err
    assert set(pd.read_csv("runs/sweep.csv")["generated"]) >= {8, 40}
    assert Path("runs/sweep.png").stat().st_size > 10_000
    figure = picture(sweep([0.5], rules=["keep-hard", "random"], d=16, trials=2, n=[8, 40]), "generated")
    assert figure.get_suptitle() == "alpha = 0.5, rho = 0.9, lam = 0.01, d = 16"
    curves = [sum(len(line.get_xdata()) > 2 for line in ax.lines) for ax in figure.axes]
    assert curves == [3, 2]  # random rows that are drawn directly are static data


# -- practice ----------------------------------------------------------------------------------------------------------


def test_curves_of_practice_are_of_six_strategies(tmp_path):
    done("theory practice --rounds 4 --trials 3 --d 40 --out", tmp_path)
    assert {*os.listdir(tmp_path)} == {"stages.csv", "exponents.csv", "practice.csv", "practice.png", "practice.pdf"}
    curves = pd.read_csv(tmp_path / "practice.csv")
    assert set(curves["kind"]) == {"predicted"}
    assert curves["series"].nunique() == 6


def test_one_experiment_has_no_z():
    answer = told("theory practice --rounds 1 --phi 0.1 --lam 0.1 --rule keep-easy --alpha 3 --trials 1 --d 20")
    assert [stage["z"] for stage in answer["stages"]] == [None, None]


def test_other_losses():
    loop = "--alpha 0.3 --phi 0.5 --lam 0.01 --increment 2 --candidates"
    answer = told("theory practice --rounds 1", loop, "--loss logistic")
    assert [stage["test_error"] for stage in answer["stages"]] == pytest.approx([0.17463, 0.11090], abs=2e-4)


# -- best --------------------------------------------------------------------------------------------------------------


def test_rows_of_best_are_what_the_package_returns():
    want = optimum(0.9, budget=20, d=512, smallest_keep=0.1).to_dict("records")
    answer = told("theory best --rho 0.9 --budget 20 --d 512 --smallest-keep 0.1")
    assert answer == {"best": want[0], "table": want, "any_rule": None}


def test_lists_are_a_phase_diagram(here):
    want = optimum(np.array([[0.5], [0.9]]), psi=np.geomspace(0.2, 2, 3))
    answer = told("theory best --rho 0.5,0.9 --psi 0.2:2:3 --out phases")
    assert answer["best"] == want.drop_duplicates("cell").to_dict("records")
    pd.testing.assert_frame_equal(pd.read_csv("phases/best.csv"), want)


def test_the_best_of_all_rules_stands_beside_the_named_ones():
    want = best_selection(Budget(0.9, 1.0, least=0.1))
    found = told("theory best --rho 0.9 --psi 1 --smallest-keep 0.1")["any_rule"]
    assert found["rule"] == str(want.rule)
    assert (found["test_error"], found["kept"]) == pytest.approx((want.test_error, 1))


def test_a_winner_at_the_least_share_says_what_smaller_ones_gain():
    for rho in (0.9,), (0.9, 1.0):
        tables = (optimum(np.array(rho), psi=0.5, smallest_keep=least) for least in (0.5, 1e-12))
        here, beyond = (table.groupby("cell")["test_error"].min() for table in tables)
        told_of = done(f"theory best --rho {','.join(map(str, rho))} --psi 0.5 --smallest-keep 0.5").err
        assert f"takes {(1 - beyond / here).max():.1%} off" in told_of


# -- noise, classes ----------------------------------------------------------------------------------------------------


def test_a_judge_who_errs_near_the_boundary():
    accuracy = 0.93
    z, generator, judge = np.random.default_rng(0).standard_normal((3, 10**6))
    label = np.sign(z + 0.2 * generator)
    answer = np.sign(z + np.tan(np.pi * (1 - accuracy)) * judge)
    share = judged_share(float(np.mean(label == answer)), accuracy)
    assert share == pytest.approx(BoundaryFlips(0.2).share, abs=0.002)
    assert judged_share(0.99, 0.98) == pytest.approx(1e-4)  # no more doubts than the judge has by itself
    with refusal(r"confirmed = 0.4 must lie"):
        judged_share(0.4, 1)
    found = told("theory noise --rounds 1 --confirmed 0.91 --judge 0.93")["practice"]
    assert found[-1]["share"] == pytest.approx(0.0570, abs=1e-4)


def test_one_share_has_a_row_per_round_and_several_the_last_of_each():
    answer = told("theory noise --rounds 2 --share 0.06")
    assert [row["stage"] for row in answer["practice"]] == [0, 1, 2]
    assert answer["practice"][2]["test_error"] == pytest.approx(0.0759, abs=5e-5)
    assert answer["worth_at_boundary"] == pytest.approx([10.986], abs=1e-3)
    assert answer["price"] == pytest.approx(1.92 / 1.1)
    assert told("theory noise --rounds 1 --share 0")["worth_at_boundary"] == [None]  # infinite
    several = told("theory noise --rounds 1 --share 0.02,0.2,0.02")["practice"]
    assert [row["share"] for row in several] == pytest.approx([0.02, 0.2])


def test_a_row_for_each_number_of_classes_and_rows():
    found = told("theory classes --classes 2,3 --kept 1:4:2 --rule keep-easy --lam 0.1 --trials 3 --tolerance 0.05")
    rows = pd.DataFrame(found["table"])
    assert list(rows["kept"]) == [1.0, 4.0] * 2
    assert {"simulated", "z", "lam"} <= set(rows)


# -- forecast ----------------------------------------------------------------------------------------------------------

CURVE = """strategy,kept,error,se
static,100,.3,.01
static,200,.25,.01
static,400,.19,.01
static,800,.12,.01
"""
KNOWN = "--fix floor=0 --fix flip=0 --fix ridge=.01"


@pytest.fixture
def curve(tmp_path):
    """A file with a measured curve."""
    file = tmp_path / "curve.csv"
    file.write_text(CURVE)
    return file


def test_forecast_says_how_well_the_theory_fits(curve):
    said = dp("theory forecast", curve, KNOWN).err.splitlines()[-1]
    assert "of 3 degrees of freedom" in said
    assert dp("theory forecast", curve, "--target 0.08", KNOWN).err.splitlines()[-1] == said
    answer = told("theory forecast", curve, "--target 0.08", KNOWN)
    assert set(answer) == {"parameters", "forecast", "chi_square", "freedom", "excess"}
    assert f"chi-square {answer['chi_square']:.3g} of {answer['freedom']} degrees of freedom" in said


def test_rows_without_a_strategy_are_a_curve_of_static_data(curve):
    """Which has no rounds, whatever the file says of them."""
    own = curve.with_name("own.csv")
    rows = ("100,.3,.01,50,0", "200,.25,.01,50,0", "400,.19,.01,,", "800,.12,.01,,")
    own.write_text("\n".join(["kept,error,se,initial,increment", *rows]))
    assert done("theory forecast", own, KNOWN).out == done("theory forecast", curve, KNOWN).out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--where stratgy=static", "has no column stratgy: one of strategy, kept"),
        ("--fix floor=x", "--fix floor=x: VALUE must be a number"),
        ("--where strategy", "--where strategy: must read NAME=VALUE"),
    ],
)
def test_what_makes_no_curve_is_refused(curve, options, message):
    assert message in refused("theory forecast", curve, options)
