"""`dp theory optimum`, `derive`, `errata` and the phase diagram: answers, files, refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dp_theory.budgets.least_error import least_error
from dp_theory.budgets.optimum import optimum
from experiments.paper.theory import phase_diagram


def test_optimum_prints_what_the_package_returns(dp):
    options = ("--budget", 20, "--candidate-cost", 0.1, "--training-cost", 1, "--d", 512, "--flip", 0.05)
    status, out, err = dp("optimum", "--rho", 0.9, *options, "--json")
    assert (status, err) == (0, "")
    answer = json.loads(out)
    want = optimum(0.9, budget=20, candidate_cost=0.1, training_cost=1.0, d=512, flip=0.05)
    assert answer == {"best": answer["table"][0], "table": want.to_dict("records")}


def test_optimum_for_rows_writes_its_table_and_warns_of_the_limit(dp, tmp_path):
    out = tmp_path / "new" / "folder"
    status, printed, err = dp("optimum", "--rho", 0.9, "--psi", 0.5, "--out", out)
    assert status == 0
    assert "give yours as --d" in err
    first = dict(zip(*(line.split("\t") for line in printed.splitlines()[:2]), strict=True))
    assert (first["strategy"], first["rule"], first["test_error"]) == ("direct", "keep-hard", "0.1013")
    table = pd.read_csv(out / "optimum.csv")
    assert len(table) == 5
    assert dp("optimum", "--rho", 0.9, "--psi", 0.5, "--out", out)[0] == 2


def test_lists_are_a_phase_diagram(dp, tmp_path):
    options = ("--rho", "0.5,0.9", "--psi", "0.2:2:3", "--lam", 0.05)
    status, printed, err = dp("optimum", *options, "--out", tmp_path / "phases")
    assert status == 0, err
    header, *rows = (line.split("\t") for line in printed.splitlines()[:7])
    best = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["rho"], row["rule"]) for row in best] == [
        ("0.5", "keep-hard"), ("0.5", "keep-hard"), ("0.5", "keep-easy"),
        ("0.9", "keep-hard"), ("0.9", "keep-easy"), ("0.9", "keep-easy"),
    ]  # fmt: skip
    want = optimum(np.array([[0.5], [0.9]]), psi=np.geomspace(0.2, 2, 3), lam=0.05)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "phases" / "optimum.csv"), want)
    answer = json.loads(dp("optimum", *options, "--json")[1])
    assert answer["best"] == want.drop_duplicates("cell").to_dict("records")


def test_a_loop_needs_no_selector(dp):
    status, out, _ = dp("optimum", "--loop", "--psi", 4, "--lam", 1, "--json")
    assert status == 0
    assert json.loads(out)["best"]["test_error"] == pytest.approx(0.321219, abs=5e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optimum", "--psi", 1), "--rho is missing"),
        (("optimum", "--rho", 0.5), "exactly one of psi"),
        (("optimum", "--rho", 2, "--psi", 1), "rho = 2 must lie in"),
        (("optimum", "--rho", 0.5, "--psi", 1, "--keep", 0.5, "--smallest-keep", 0.6), "leave one out"),
        (("optimum", "--loop", "--psi", 1, "--rho", 0.5), "--loop takes --psi"),
        (("optimum", "--loop", "--psi", "1,2"), "--loop takes one value of --psi"),
        (("optimum", "--loop", "--psi", 1, "--guided-cost", 9), "--guided-cost is not for --loop"),
        (("optimum", "--loop", "--psi", 1, "--d", 30), "--d is not for --loop"),
        (("best", "--rounds", 1, "--training-cost", 5), "--rounds takes none of"),
        (("best", "--rounds", 1, "--axis", "kept"), "--rounds takes none of"),
        (
            ("best", "--rho", 0.9, "--budget", 2, "--axis", "kept", "--training-cost", 5),
            "training_cost = 5.0 is for compute",
        ),
        (("best", "--rho", 0.9, "--budget", 2, "--phi", 7), "--phi and --increment are for --rounds"),
        (("optimum", "--rho", "0.5:x", "--psi", 1), "--rho '0.5:x' is malformed"),
        (("best", "--rounds", 1, "--out", Path(__file__).parent), "is not empty"),
        (("optimum", "--rho", 0.5, "--psi", 1, "--out", Path(__file__).parent), "is not empty"),
        (("predict", "--alpha", 0.5, "--rho", 0.5, "--phi", 1, "--parameter", "alpha=3"), "--alpha sets it"),
        (("practice", "--rounds", 1, "--phi", 1, "--rule", "keep-all", "--weight-power", 2), "has no threshold"),
        (("derive", "lemma3"), "there is no derivation 'lemma3'"),
        (("errata", "--trials", 1), "'--trials'"),
    ],
)
def test_wrong_input_is_told_in_one_line(dp, arguments, message):
    status, out, err = dp(*arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert message in line


def test_derive_prints_text_latex_and_json(dp):
    _, text, _ = dp("derive", "lemma1", "keep-hard")
    assert "  p = erf(sqrt(2)*alpha/2)\n" in text
    assert "  tan2, keep-hard less (1 - rho squared) of plain = 0\n" in text
    _, latex, _ = dp("derive", "lemma1", "--latex")
    lines = latex.splitlines()
    assert lines[0].startswith("% Lemma 1")
    assert r"\[ \text{p} = \operatorname{erf}{\left(\frac{\sqrt{2} \alpha}{2} \right)} \]" in lines
    assert any(line.startswith(r"\[ \text{beta\_tilde} = ") for line in lines)
    _, answer, _ = dp("derive", "scaling", "--json")
    assert json.loads(answer)["scaling"]["results"]["best p, rho = 1"] == "2*phi"


def test_errata_shows_that_the_printed_values_are_wrong(dp):
    status, out, err = dp("errata", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)["errata"]
    simulated = [row for row in rows if row["se"] is not None]
    assert len(simulated) == 4
    for row in simulated:
        assert abs(row["simulated"] - row["right"]) < 3.5 * row["se"], row
        if row["printed"] is not None:
            assert abs(row["simulated"] - row["printed"]) > 7 * row["se"], row
    sign = next(row for row in rows if row["where"].startswith("eq. 7"))
    assert sign["printed"] < 0 < sign["right"]
    found = {row["where"]: row["right"] for row in rows}
    assert found["text, ImageNet-100"] == pytest.approx(31.25)
    assert found["text, ImageNet-1k"] == pytest.approx(20.3, abs=0.05)
    assert found["Table 4, N = 130k, k = 27"] == 1858000


def test_the_phase_diagram_is_the_optimum(monkeypatch):
    monkeypatch.setattr(phase_diagram, "CHECKS", [(0.15, 0.9), (2.5, 0.9)])
    table = phase_diagram.compute(quick=True)
    predicted, simulated = (table[table["kind"] == kind] for kind in ("predicted", "simulated"))
    assert len(predicted) == 3 * 16 * 16
    one = predicted[(predicted["panel"] == phase_diagram.TUNED)].sample(random_state=0).iloc[0]
    best = least_error(one["rule"], one["y"], one["x"], d=phase_diagram.D).test_error
    plain = least_error("keep-hard", one["y"], one["x"], keep=1.0, d=phase_diagram.D).test_error
    assert abs(one["gain"]) == pytest.approx(1 - best / plain, abs=1e-9)
    for panel in (phase_diagram.TUNED, phase_diagram.RIDGELESS):
        few, many = (simulated[(simulated["panel"] == panel) & (simulated["x"] == x)].iloc[0] for x in (2.5, 0.15))
        assert few["gain"] < -0.3  # keep-easy
        assert many["gain"] > 0.4  # keep-hard
    paid = predicted[predicted["panel"] == phase_diagram.PAID]
    free = predicted[predicted["panel"] == phase_diagram.TUNED]
    assert np.all(paid["gain"].abs().to_numpy() <= free["gain"].abs().to_numpy() + 1e-6)
    assert (simulated["gain"] - simulated["predicted"]).abs().max() < 0.05
    assert len(phase_diagram.draw(table).axes) == 4
    assert "keep-hard with many rows" in phase_diagram.caption(table)
