"""Curves are read from the files that the project writes and from tables of one's own; others are refused."""

import numpy as np
import pytest
from dp_experiments.compare.compare import summarize
from dp_experiments.compare.curve_files import SWEEP, read_curve, reported_curve
from numpy.testing import assert_allclose

import dp_theory
from dp_theory import KeepHard
from tests.experiments.compare.made import runs_of
from tests.refusals import refusal

COMPARISON = "series,kind,generated,kept,y,se,n_seeds,validation"


def test_a_sweep_is_read(tmp_path):
    """Without points that have hardly a row."""
    rules = ["keep-hard", "keep-easy"]
    sweep = dp_theory.sweep([0.5], lam_per_row=[0.01, 0.1], rules=rules, d=40, trials=4, n=[20, 80, 320])
    sweep.to_csv(tmp_path / "sweep.csv")
    with refusal(r"several curves, lam = 0\.01, 0\.1: choose with lam="):
        read_curve(tmp_path / "sweep.csv")
    with refusal("no rows with rule = entropy"):
        read_curve(tmp_path / "sweep.csv", {"lam": "0.1", "rule": "entropy"})
    curve, notes = read_curve(tmp_path / "sweep.csv", {"lam": "0.1", "rule": "keep-easy"})
    assert curve.rule == "keep-easy"
    assert curve.exact
    assert len(curve) == 9
    assert notes == ["of the rules keep-hard, keep-easy only keep-easy is fitted: choose with rule=…"]
    assert set(curve.strategy) == {"static", "prune", "direct"}
    assert_allclose(curve.keep[curve.strategy != "static"], KeepHard(0.5).moments(0.0).p)
    sweep.loc[sweep["kind"] == "simulated", "kept"] -= sweep["kept"].min() - 0.5
    sweep.to_csv(tmp_path / "sweep.csv")
    curve, notes = read_curve(tmp_path / "sweep.csv", {"lam": "0.1", "rule": "keep-easy"})
    assert curve.kept.min() >= 1
    assert "keep less than one row in the mean" in notes[1]


def test_a_comparison_is_read(tmp_path):
    (tmp_path / "comparison.csv").write_text(
        f"""{COMPARISON}
static,measured,1000,1000.0,97.0,0.2,4,97.0
static-4000,measured,4000,4000.0,98.0,0.1,4,97.0
practice,measured,900,900.0,98.1,0.1,4,97.0
practice-400,measured,400,400.0,97.0,0.1,4,97.0
prune-once,measured,4600,1000.0,97.5,0.2,4,97.0
frozen,measured,1000,1000.0,97.0,0.2,4,97.0
static@training.steps=6,measured,1000,1000.0,96.0,0.2,4,97.0
"""
    )
    run = tmp_path / "runs" / "practice-seed0"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("[practice]\ninitial = 100\nincrement = 200\n")
    curve, notes = read_curve(tmp_path / "comparison.csv")
    assert curve.strategy.tolist() == ["static", "static", "practice", "prune"]
    assert_allclose(curve.error, [0.03, 0.02, 0.019, 0.025])
    assert_allclose(curve.se, [0.002, 0.001, 0.001, 0.002])
    assert (curve.initial[2], curve.increment[2]) == (100, 200)
    assert curve.keep[3] == pytest.approx(1000 / 4600)
    assert notes[0] == "frozen is left out: it is no strategy of the theory"
    assert notes[1].startswith("arms of other settings are left out: static@training.steps=6")
    assert notes[2] == "practice-400 is left out: no runs in its folder say how it began"
    assert len(read_curve(tmp_path / "comparison.csv", {"settings": "training.steps=6"}).curve) == 1


def read(folder, text):
    """What a CSV file of this text holds."""
    (folder / "curve.csv").write_text(text)
    return read_curve(folder / "curve.csv")


def test_seeds_that_agree_have_the_spread_of_others(tmp_path):
    for first, last, spread, said in (
        ([0.80, 0.82], [0.88, 0.90], 0.01, "static-200 agree: the spread of the other arms is taken"),
        (
            [0.81, 0.81],
            [0.89, 0.89],
            np.nan,
            "static-100, static-200, static-400 agree: nothing is known of the spread",
        ),
    ):
        runs = runs_of({"static-100": first, "static-200": [0.85, 0.85], "static-400": last})
        summarize(runs, "static-100").to_csv(tmp_path / "comparison.csv", index=False)
        curve, notes = read_curve(tmp_path / "comparison.csv")
        assert_allclose(curve.se, spread)
        assert f"the seeds of {said}" in notes


def test_points_without_an_error_are_left_out(tmp_path):
    summarize(runs_of({"static-100": [0.8, 0.9], "static-200": [1, 1]}), "static-100").to_csv(tmp_path / "all.csv")
    curve, notes = read_curve(tmp_path / "all.csv")
    assert curve.kept.tolist() == [100]
    assert notes[-1] == "1 of 2 points have no error, which more test examples might find: they are left out"


@pytest.mark.parametrize(("errors", "are_high"), [((0.1, 0.2), False), ((0.8, 0.9), True)])
def test_accuracies_given_as_errors_are_remarked(tmp_path, errors, are_high):
    reading = read(tmp_path, "strategy,kept,error\n" + "".join(f"static,10,{error}\n" for error in errors))
    assert any("are they accuracies?" in note for note in reading.notes) == are_high


def test_a_sign_within_a_line_begins_no_comment(tmp_path):
    rows = "static,100,.3,run #1,.01\nstatic,400,.2,,.01\nstatic,900,.1,#,.01\n"
    reading = read(tmp_path, "# made by me\n# on a Monday\nstrategy,kept,error,note,se\n" + rows)
    assert reading.curve.se.tolist() == [0.01] * 3
    ids = read(
        tmp_path, "\ufeff#one comment\nid,strategy,kept,error\n#4,static,100,.3\n#5,static,400,.2\n6,static,900,.1\n"
    )
    assert ids.curve.kept.tolist() == [100, 400, 900]


def test_rows_of_other_strategies_or_numbers_are_not_taken_for_static_data_in_silence(tmp_path):
    rows = "static,100,.3,64,1\ndirect,100,.25,64,.5\nstatic,100,.28,128,1\nstatic,400,.2,128,1\n"
    reading = read(tmp_path, f"strategy,kept,error,width,keep\n{rows}")
    assert reading.curve.strategy.tolist() == ["static", "direct", "static", "static"]
    assert reading.notes == ["rows of width = 64, 128 are taken for one curve: --where width=… takes one of them"]
    reading = read(tmp_path, "kept,generated,error\n100,1000,.3\n400,4000,.2\n900,9000,.1\n")
    assert reading.notes == ["all rows are taken for static data: there is no column strategy"]


@pytest.mark.parametrize(
    ("text", "message"),
    {
        f"{COMPARISON}\nreal,trained,1,1,50,1,1,\n": "has no arm that is a strategy of the theory: static",
        f"{COMPARISON}\npractice-9,trained,9,9,50,1,1,\n": "arms of practice alone, and no runs in its folder",
        f"{','.join(SWEEP)},x\nstatic,theory,keep-all,1,1,1,1,9,9,.1,.1,1,9\n": "has no simulated points",
        "a,b\n1,2\n": "holds no curve: it has a, b, between commas; .* be kept, error .*; strategy, if not all",
        "strategy;kept;error\nstatic;1;0,5\n": "more fields than the columns strategy;kept;error",
        "kept,error\n100,0\n200,0\n": "curve.csv: 2 of 2 points have no error",
        "kept,error\n100,0\n200,none?\n": "curve.csv, row 2: error = 'none.' must be",
        f"kept,error\n{'9' * 400},.3\n": "curve.csv: holds no curve: int too large",
        f"{COMPARISON}\nstatic-9,measured,9,9,x,.1,2,x\n": "curve.csv: holds no",
        f"{','.join(SWEEP)}\nstatic,simulated,keep-all,1,1,.1,1,.5,.5,.4,.1,9\n": "curve.csv: no point is left",
        "strategy,kept,error,se\nstatic,100,.3,.5\n": "se = 0.5 must lie .*, and not in percent",
        "strategy,kept,generated,keep,error\nprune,100,300,.9,.3\n": "keep = 0.9 must be kept/generated for prune",
        "strategy,kept,error,keep,rule\nprune,200,.5,.1,lucky\n": "unknown rule 'lucky' of a curve",
        "# ours\nkept,error\n100,.3\n200,1\n": r"curve.csv, row 2: error = 1 must lie in \(0, 1\)",
        "kept,error\n100,.3\nmany,.2\n": r"curve.csv, row 2: kept = 'many' must be a real number",
        "strategy,kept,error\nstatic,9,.3\nstattic,9,.2\n": "curve.csv, row 2: unknown strategy 'stattic': one of",
        "kept,error,se\n100,.3,.01\n200,.2,\n": "curve.csv: se is given for some points",
    }.items(),
)
def test_files_that_hold_no_curve_are_refused(tmp_path, text, message):
    with refusal(message):
        read(tmp_path, text)


def test_rows_of_the_papers_tables_are_chosen_as_those_of_a_file():
    both, static = (reported_curve("table5", where) for where in (None, {"strategy": "static"}))
    assert set(both.strategy) == {"static", "practice"}
    assert static.kept.tolist() == both.kept[both.strategy == "static"].tolist()
    with refusal("table5 has no rows with strategy = pruned: practice, static"):
        reported_curve("table5", {"strategy": "pruned"})
