"""`dp theory noise`: what it prints and writes, and how it refuses."""

import json

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dp_base.errors import InputError
from experiments.cli.theory.noise import noise_command


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(noise_command)

    def invoke(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments), "--rounds", "2"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_one_share_has_a_row_per_round(run):
    answer = json.loads(run("--share", 0.06, "--rho", 0.9, "--json"))
    assert [row["stage"] for row in answer["practice"]] == [0, 1, 2]
    assert answer["practice"][2]["test_error"] == pytest.approx(0.0759, abs=5e-5)
    assert {row["rule"] for row in answer["selection"]} == {"static", "keep-hard", "keep-easy", "entropy"}
    assert answer["worth_at_boundary"] == pytest.approx([10.986], abs=1e-3)
    assert answer["price"] == pytest.approx([1.92 / 1.1])


def test_a_row_that_passes_a_check_costs_those_that_fail(run, tmp_path):
    """At the boundary half of them pass, whatever the check: the label is right as often as not."""
    options = ("--share", 0.2, "--check", 0.4, "--rounds", 1)
    assert json.loads(run(*options, "--json"))["price"] == pytest.approx([(1.82 / 0.5 + 0.1) / 1.1])
    run("--share", 0.2, "--rho", 0.9, "--rounds", 1, "--out", tmp_path / "new")
    assert set(pd.read_csv(tmp_path / "new" / "selection.csv")["rule"]) == {
        "static",
        "keep-hard",
        "keep-easy",
        "entropy",
    }


def test_several_shares_have_the_last_round_each(run, tmp_path):
    output = run("--share", "0.02,0.2,0.02", "--missed", 0.3, "--check", 0.01, "--out", tmp_path / "new")
    written = pd.read_csv(tmp_path / "new" / "noise.csv")
    assert written["share"].tolist() == pytest.approx([0.02, 0.2])
    assert written["missed"].tolist() == pytest.approx([0.3, 0.3])
    assert (written["made"] > written["kept"]).all()
    assert str(tmp_path / "new" / "noise.csv") in output


def test_a_judge_says_how_many_are_wrong(run):
    (row,) = json.loads(run("--confirmed", 0.91, "--judge", 0.93, "--json"))["practice"][-1:]
    assert row["share"] == pytest.approx(0.0570, abs=1e-4)


def test_labels_that_tell_at_the_boundary_have_no_worth_there(run):
    assert json.loads(run("--share", 0.05, "--eps", 0.3, "--rounds", 1, "--json"))["worth_at_boundary"] == [None]


def test_refuses(run):
    for arguments, said in (
        ((), "give one of --share and --confirmed"),
        (("--share", 0.1, "--confirmed", 0.9), "give one of --share and --confirmed"),
        (("--share", 0.6), "share = 0.6 must lie"),
        (("--share", 0.1, "--judge", 0.9), "--judge is for --confirmed"),
        (("--share", "some"), "--share 'some' is malformed"),
        (("--share", 0.1, "--missed", 0.3, "--window", 1), "--window and --missed are two ways"),
        (("--share", 0.1, "--shape", "cauchy"), "unknown shape 'cauchy'"),
        (("--share", 0.1, "--check", 0.01, "--rho", 0.9), "--rho selects once, without a label check"),
    ):
        with pytest.raises(InputError, match=said):
            run(*arguments)


def test_a_share_that_is_given_twice_is_one(run):
    answer = json.loads(run("--share", "0.1,0.1", "--rho", 0.9, "--json"))
    assert [row["share"] for row in answer["selection"]] == pytest.approx([0.1] * len(answer["selection"]))
    assert [row["stage"] for row in answer["practice"]] == [0, 1, 2]


@pytest.mark.parametrize("rho", [-1, 1])
def test_a_selector_is_refused_before_the_work(run, monkeypatch, rho):
    monkeypatch.setattr("dp_theory.noise.worth", lambda *_, **__: pytest.fail("worked first"))
    with pytest.raises(InputError, match=r"rho = -?1 must lie in"):
        run("--share", 0.1, "--rho", rho)
