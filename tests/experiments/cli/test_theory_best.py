"""`dp theory best` and its figure: what they print and write, and how they refuse."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dp_theory import PracticeProblem, best_sequence
from dp_theory.selection import Budget, compare_selections
from experiments.paper.theory import best_selection


def test_best_prints_what_the_package_returns(dp, tmp_path):
    options = ("--rho", 0.9, "--budget", 20, "--training-cost", 0.2, "--flip", 0.05, "--smallest-keep", 0.1)
    status, out, err = dp("best", *options, "--out", tmp_path / "new", "--json")
    assert (status, err) == (0, "")
    want = compare_selections(Budget.of(0.9, 20, training_cost=0.2, flip=0.05, smallest_keep=0.1))
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(out)["table"]).fillna(np.nan), want, rtol=1e-7)
    written = pd.read_csv(tmp_path / "new" / "best.csv", keep_default_na=True)
    assert list(written["name"]) == list(want["name"])


def test_best_of_a_loop(dp):
    status, out, err = dp("best", "--rounds", 1, "--candidates", "--lam", 0.01, "--labels")
    assert (status, err) == (0, "the best rule of each round, and the best window |t| < kappa·tan(πE)\n")
    *_, last = (line.split("\t") for line in out.splitlines())
    want = best_sequence(PracticeProblem(0.25, 0.01), 1, candidates=1.0, labels=True)
    assert last[1] == str(want.bands[0])
    assert float(last[4]) == pytest.approx(want.test_error[1], rel=1e-3)
    assert float(last[4]) < float(last[7])


def test_where_a_search_ends_at_a_limit_it_says_so(dp, monkeypatch):
    """A large gap, or none; a window that keeps all, or as little as it may."""
    found = best_sequence(PracticeProblem(0.9, 0.0), 1, candidates=0.1)
    loop = ("best", "--rounds", 1, "--candidates", "--increment", 0.1, "--phi", 0.9)
    for gap, said in ((0.06, "gap = 0.06"), (np.nan, "gap = nan")):
        monkeypatch.setattr("dp_theory.selection.best_sequence", lambda *_, gap=gap, **__: replace(found, gap=[gap]))
        status, out, err = dp(*loop)
        assert status == 0
        assert out.splitlines()[0].split("\t")[5] == "gap"
        assert f"round 1: the search found no better rule, but there may be one ({said})\n" in err
        assert "the best window keeps all rows in every round: kappa = inf\n" in err
    monkeypatch.setattr("dp_theory.selection.best_window", lambda *_, **__: (1e-5, found.test_error))
    assert "the best window is as narrow as --smallest-keep allows in every round\n" in dp(*loop)[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", 1), "--rho is missing"),
        (("--rho", 0.5), "--budget is missing"),
        (("--rho", 0.5, "--budget", 1, "--full"), "for --rounds"),
        (("--rounds", 2, "--rho", 0.5), "the learner itself selects"),
        (("--rho", 0.5, "--budget", 1, "--axis", "hours"), "unknown axis 'hours'"),
        (("--rho", 0.5, "--budget", 1, "--axis", "kept", "--training-cost", 2), "training_cost = 2.0 is for compute"),
        (("--rho", 1, "--budget", 1), "rho = 1 must lie in (-1, 1)"),
        (("--rounds", 2, "--smallest-keep", 0), "smallest keep = 0 must lie in (0, 1)"),
    ],
)
def test_best_refuses(dp, arguments, message):
    status, _, err = dp("best", *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_figure_shows_how_far_the_usual_rules_are(monkeypatch):
    monkeypatch.setattr(best_selection, "PANELS", {"budget of kept rows": ("kept", 0.5, 2.0)})
    monkeypatch.setattr(best_selection, "SIZES", (3, 3))
    table = best_selection.compute(quick=True)
    theory = table[table["kind"] == "predicted"].pivot(index="x", columns="series", values="y")
    assert (theory["best"] == 1).all()
    assert (theory[["entropy", "keep-hard", "keep-easy"]] > 1 - 1e-9).all(axis=None)
    assert theory["entropy"].max() > 1.05
    assert theory["best, seeing labels"].min() < 0.95
    assert table["z"].abs().max() < 4
    assert len(best_selection.draw(table).axes) == 1
    assert "entropy rule is up to" in best_selection.caption(table)
