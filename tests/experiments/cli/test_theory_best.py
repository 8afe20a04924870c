"""`dp theory best` and its figures: what the commands print and write, and how they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dp_experiments.paper.theory import best_selection, phase_diagram

from dp_theory import PracticeProblem, best_sequence
from dp_theory.budgets.least_error import least_error
from dp_theory.budgets.optimum import optimum
from dp_theory.selection import Budget, compare_selections
from tests.experiments.conftest import Theory

HERE = Path(__file__).parent  # a folder that is not empty


# rule


def test_rule_prints_what_the_package_returns(theory: Theory):
    options = ("--budget", 20, "--candidate-cost", 0.1, "--training-cost", 1, "--d", 512, "--flip", 0.05)
    status, out, err = theory("best", "rule", "--rho", 0.9, *options, "--json")
    assert (status, err) == (0, "")
    answer = json.loads(out)
    want = optimum(0.9, budget=20, candidate_cost=0.1, training_cost=1.0, d=512, flip=0.05)
    assert answer == {"best": answer["table"][0], "table": want.to_dict("records")}


def test_rule_for_rows_writes_its_table_and_warns_of_the_limit(theory: Theory, tmp_path: Path):
    out = tmp_path / "new" / "folder"
    status, printed, err = theory("best", "rule", "--rho", 0.9, "--psi", 0.5, "--out", out)
    assert status == 0
    assert "give yours as --d" in err
    header, row = (line.split("\t") for line in printed.splitlines()[:2])
    first = dict(zip(header, row, strict=True))
    assert (first["strategy"], first["rule"], first["test_error"]) == ("direct", "keep-hard", "0.1013")
    assert len(pd.read_csv(out / "best.csv")) == 5
    assert theory("best", "rule", "--rho", 0.9, "--psi", 0.5, "--out", out).status == 2


def test_lists_are_a_phase_diagram(theory: Theory, tmp_path: Path):
    options = ("--rho", "0.5,0.9", "--psi", "0.2:2:3", "--lam", 0.05)
    printed = theory("best", "rule", *options, "--out", tmp_path / "phases").done()
    header, *rows = (line.split("\t") for line in printed.splitlines()[:7])
    best = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["rho"], row["rule"]) for row in best] == [
        ("0.5", "keep-hard"),
        ("0.5", "keep-hard"),
        ("0.5", "keep-easy"),
        ("0.9", "keep-hard"),
        ("0.9", "keep-easy"),
        ("0.9", "keep-easy"),
    ]
    want = optimum(np.array([[0.5], [0.9]]), psi=np.geomspace(0.2, 2, 3), lam=0.05)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "phases" / "best.csv"), want)
    answer = json.loads(theory("best", "rule", *options, "--json").out)
    assert answer["best"] == want.drop_duplicates("cell").to_dict("records")


def test_the_phase_diagram_is_the_best_rule(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(phase_diagram, "CHECKS", [(0.15, 0.9), (2.5, 0.9)])
    table = phase_diagram.compute(quick=True)
    predicted = table[table["kind"] == "predicted"]
    simulated = table[table["kind"] == "simulated"]
    assert len(predicted) == 3 * 16 * 16
    one = predicted[(predicted["panel"] == phase_diagram.TUNED)].sample(random_state=0).iloc[0]
    best = least_error(one["rule"], one["y"], one["x"], d=phase_diagram.D).test_error
    plain = least_error("keep-hard", one["y"], one["x"], keep=1.0, d=phase_diagram.D).test_error
    assert abs(one["gain"]) == pytest.approx(1 - best / plain, abs=1e-9)
    for panel in (phase_diagram.TUNED, phase_diagram.RIDGELESS):
        points = simulated[simulated["panel"] == panel]
        gains = dict(zip(points["x"], points["gain"], strict=True))
        assert gains[2.5] < -0.3  # few rows: keep-easy
        assert gains[0.15] > 0.4  # many rows: keep-hard
    paid = predicted[predicted["panel"] == phase_diagram.PAID]
    free = predicted[predicted["panel"] == phase_diagram.TUNED]
    assert np.all(paid["gain"].abs().to_numpy() <= free["gain"].abs().to_numpy() + 1e-6)
    assert (simulated["gain"] - simulated["predicted"]).abs().max() < 0.05
    assert len(phase_diagram.draw(table).axes) == 4
    assert "keep-hard with many rows" in phase_diagram.caption(table)


# any-rule


def test_any_rule_prints_what_the_package_returns(theory: Theory, tmp_path: Path):
    options = ("--rho", 0.9, "--budget", 20, "--training-cost", 0.2, "--flip", 0.05, "--smallest-keep", 0.1)
    status, out, err = theory("best", "any-rule", *options, "--out", tmp_path / "new", "--json")
    assert (status, err) == (0, "")
    want = compare_selections(Budget.of(0.9, 20, training_cost=0.2, flip=0.05, smallest_keep=0.1))
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(out)["table"]).fillna(np.nan), want, rtol=1e-7)
    written = pd.read_csv(tmp_path / "new" / "best.csv", keep_default_na=True)
    assert list(written["name"]) == list(want["name"])


@pytest.mark.slow
def test_the_figure_shows_how_far_the_usual_rules_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(best_selection, "PANELS", {"budget of kept rows": ("kept", 0.5, 2.0)})
    monkeypatch.setattr(best_selection, "SIZES", (3, 3))
    table = best_selection.compute(quick=True)
    predicted = table[table["kind"] == "predicted"].pivot(index="x", columns="series", values="y")
    assert (predicted["best"] == 1).all()
    assert (predicted[["entropy", "keep-hard", "keep-easy"]] > 1 - 1e-9).all(axis=None)
    assert predicted["entropy"].max() > 1.05
    assert predicted["best, seeing labels"].min() < 0.95
    assert table["z"].abs().max() < 4
    assert len(best_selection.draw(table).axes) == 1
    assert "entropy rule is up to" in best_selection.caption(table)


# one-round


def test_one_round_needs_no_selector(theory: Theory):
    out = theory("best", "one-round", "--psi", 4, "--lam", 1, "--json").done()
    answer = json.loads(out)
    assert answer["best"] == answer["table"][0]
    assert answer["best"]["test_error"] == pytest.approx(0.321219, abs=5e-7)


# sequence


def test_sequence_prints_what_the_package_returns(theory: Theory):
    status, out, err = theory("best", "sequence", "--rounds", 1, "--candidates", "--lam", 0.01, "--labels")
    assert (status, err) == (0, "the best rule of each round, and the best window |t| < kappa·tan(πE)\n")
    *_, last = (line.split("\t") for line in out.splitlines())
    want = best_sequence(PracticeProblem(0.25, 0.01), 1, candidates=1.0, labels=True)
    assert last[1] == str(want.bands[0])
    assert float(last[4]) == pytest.approx(want.test_error[1], rel=1e-3)
    assert float(last[4]) < float(last[7])


def test_where_a_search_ends_at_a_limit_it_says_so(theory: Theory, monkeypatch: pytest.MonkeyPatch):
    """A large gap, or none; a window that keeps all, or as little as it may."""
    found = best_sequence(PracticeProblem(0.9, 0.0), 1, candidates=0.1)
    command = ("best", "sequence", "--rounds", 1, "--candidates", "--increment", 0.1, "--phi", 0.9)
    for gap, said in ((0.06, "gap = 0.06"), (np.nan, "gap = nan")):
        with_gap = replace(found, gap=np.array([gap]))
        monkeypatch.setattr("dp_theory.selection.best_sequence", lambda *_, answer=with_gap, **__: answer)
        status, out, err = theory(*command)
        assert status == 0
        assert out.splitlines()[0].split("\t")[5] == "gap"
        assert f"round 1: the search found no better rule, but there may be one ({said})\n" in err
        assert "the best window keeps all rows in every round: kappa = inf\n" in err
    monkeypatch.setattr("dp_theory.selection.best_window", lambda *_, **__: (1e-5, found.test_error))
    assert "the best window is as narrow as --smallest-keep allows in every round\n" in theory(*command).err


def test_a_window_that_ends_below_the_greedy_rules_is_told(theory: Theory):
    status, _, err = theory("best", "sequence", "--rounds", 3, "--phi", 0.5, "--candidates")
    assert status == 0
    assert "the best window ends at 0.08379, below 0.08412" in err
    assert "--full" in err


# refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rule", "--psi", 1), "Missing option '--rho'"),
        (("rule", "--rho", 0.5), "exactly one of psi"),
        (("rule", "--rho", 2, "--psi", 1), "rho = 2 must lie in"),
        (("rule", "--rho", 0.5, "--psi", 1, "--keep", 0.5, "--smallest-keep", 0.6), "leave one out"),
        (("rule", "--rho", "0.5:x", "--psi", 1), "--rho '0.5:x' is malformed"),
        (("rule", "--rho", 0.5, "--psi", 1, "--out", HERE), "is not empty"),
        (("rule", "--rho", 0.5, "--psi", 1, "--rounds", 2), "No such option: --rounds"),
        (("any-rule", "--budget", 1), "Missing option '--rho'"),
        (("any-rule", "--rho", 0.5), "Missing option '--budget'"),
        (("any-rule", "--rho", 0.5, "--budget", 1, "--full"), "No such option: --full"),
        (("any-rule", "--rho", 0.5, "--budget", 1, "--axis", "hours"), "unknown axis 'hours'"),
        (
            ("any-rule", "--rho", 0.5, "--budget", 1, "--axis", "kept", "--training-cost", 2),
            "training_cost = 2.0 is for compute",
        ),
        (("any-rule", "--rho", 1, "--budget", 1), "rho = 1 must lie in (-1, 1)"),
        (("one-round", "--psi", 1, "--rho", 0.5), "No such option: --rho"),
        (("one-round", "--psi", "1,2"), "Invalid value for '--psi'"),
        (("one-round", "--psi", 1, "--keep", 1), "keep = 1 must lie in (0, 1)"),
        (("sequence", "--rounds", 2, "--rho", 0.5), "No such option: --rho"),
        (("sequence", "--rounds", 2, "--smallest-keep", 0), "smallest keep = 0 must lie in (0, 1)"),
        (("sequence", "--rounds", 1, "--out", HERE), "is not empty"),
        (("rules", "--rho", 0.5), "No such command 'rules'. Did you mean 'rule'"),
    ],
)
def test_wrong_input_is_told_in_one_line(theory: Theory, arguments: tuple[Any, ...], message: str):
    assert message in theory("best", *arguments).refused()
