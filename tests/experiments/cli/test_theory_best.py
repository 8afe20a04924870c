"""`dp theory best` and its figures: what the commands print and write, and how they refuse."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.paper.theory import best_selection as figure

from dp_theory import best_selection
from dp_theory.budgets.optimum import optimum
from dp_theory.selection import Budget
from tests.commands import told

HERE = Path(__file__).parent  # a folder that is not empty


def test_rows_are_what_the_package_returns():
    options = "--budget 20 --direct-cost 3 --training-cost 1 --d 512 --smallest-keep 0.1"
    answer = told("theory best --rho 0.9", options)
    want = optimum(0.9, budget=20, direct_cost=3.0, training_cost=1.0, d=512, smallest_keep=0.1).to_dict("records")
    assert answer == {"best": want[0], "table": want, "any_rule": None}


def test_lists_are_a_phase_diagram(tmp_path: Path):
    options = "--rho 0.5,0.9 --psi 0.2:2:3"
    want = optimum(np.array([[0.5], [0.9]]), psi=np.geomspace(0.2, 2, 3))
    answer = told("theory best", options, "--out", tmp_path / "phases")
    assert answer["best"] == want.drop_duplicates("cell").to_dict("records")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "phases" / "best.csv"), want)


def test_the_best_of_all_rules_stands_beside_the_named_ones():
    want = best_selection(Budget.of(0.9, 1.0, "kept", smallest_keep=0.1))
    answer = told("theory best --rho 0.9 --psi 1 --smallest-keep 0.1")
    found = answer["any_rule"]
    assert found["rule"] == str(want.rule)
    assert (found["test_error"], found["kept"]) == pytest.approx((want.test_error, 1))
    assert found["test_error"] < 0.93 * answer["best"]["test_error"]


@pytest.mark.slow
def test_the_figure_shows_how_far_the_usual_rules_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(figure, "PANELS", {"budget of kept rows": ("kept", 0.5, 2.0)})
    table = figure.compute(quick=True)
    predicted = table[table["kind"] == "predicted"].pivot(index="x", columns="series", values="y")
    assert (predicted["best"] == 1).all()
    assert (predicted[["keep-hard", "keep-easy"]] > 1 - 1e-9).all(axis=None)
    assert predicted["keep-hard"].max() > 1.05
    assert table["z"].abs().max() < 4
    assert len(figure.draw(table).axes) == 1
    assert "Keep-hard is up to" in figure.caption(table)
