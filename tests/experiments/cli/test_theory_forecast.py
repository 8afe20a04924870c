"""`dp theory forecast`: what it says of the fit that all else rests on, and how it refuses."""

import json
from pathlib import Path

import pytest

from dp_base.errors import InputError
from tests.experiments.conftest import Theory

CURVE = """strategy,kept,error,se
static,100,.3,.01
static,200,.25,.01
static,400,.19,.01
static,800,.12,.01
"""
KNOWN = ("--fix", "floor=0", "--fix", "flip=0", "--fix", "ridge=.01")


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """A file with a measured curve."""
    file = tmp_path / "curve.csv"
    file.write_text(CURVE)
    return file


def test_practice_in_a_curve_is_said_to_take_its_time(theory: Theory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before the fit begins, which is left out here."""
    curve = tmp_path / "curve.csv"
    curve.write_text("strategy,kept,error,initial,increment\nstatic,100,.3,,\npractice,200,.2,100,100\n")

    def refuse(*_: object) -> None:
        raise InputError("not fitted here")

    monkeypatch.setattr("dp_theory.fitting.fit", refuse)
    assert "whose theory takes longer" in theory("forecast", curve).err
    curve.write_text("strategy,kept,error,keep\nstatic,100,.3,1\nprune,100,.2,.5\n")
    assert "some seconds" in theory("forecast", curve).err


def test_forecast_says_how_well_the_theory_fits(theory: Theory, curve: Path):
    said = theory("forecast", curve, *KNOWN).err.splitlines()[-1]
    assert "of 3 degrees of freedom" in said
    assert theory("forecast", curve, "--target", 0.08, *KNOWN).err.splitlines()[-1] == said
    answer = json.loads(theory("forecast", curve, "--target", 0.08, *KNOWN, "--json").done())
    assert set(answer) == {"parameters", "forecast", "chi_square", "freedom", "excess"}
    assert f"chi-square {answer['chi_square']:.3g} of {answer['freedom']} degrees of freedom" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fix", "floor"), "--fix floor must read NAME=VALUE, VALUE a number"),
        (("--where", "strategy"), "--where strategy must read COLUMN=VALUE"),
        (("--x", "kept"), "--x kept counts what a target takes: give --target"),
    ],
)
def test_malformed_options_are_refused(theory: Theory, curve: Path, options: tuple[str, ...], said: str):
    assert said in theory("forecast", curve, *options).refused()


def test_two_columns_of_ones_own_are_a_curve_of_static_data(theory: Theory, curve: Path):
    own = curve.with_name("own.csv")
    own.write_text("n,accuracy,error rate,se\n100,.7,.3,.01\n200,.75,.25,.01\n400,.81,.19,.01\n800,.88,.12,.01\n")
    fitted = theory("forecast", curve, *KNOWN).done()
    assert theory("forecast", own, "--columns", "n,accuracy", *KNOWN).done() == fitted
    assert theory("forecast", own, "--columns", "n, error rate", *KNOWN).done() == fitted


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        ("own.csv", "n,accurcy", "has no column accurcy: one of n, accuracy, name"),
        ("own.csv", "n,accuracy", "accuracy must lie between 0 and 1, as a share and not in percent"),
        ("own.csv", "n,name", "the column name holds something else than numbers"),
        ("table4", "n,accuracy", "table4 is the paper's own curve"),
        ("folder", "n,accuracy", "is for a CSV file"),
    ],
)
def test_columns_that_hold_no_curve_are_refused(theory: Theory, tmp_path: Path, file: str, columns: str, message: str):
    (tmp_path / "own.csv").write_text("n,accuracy,name\n100,70,a\n200,75,b\n")
    (tmp_path / "folder").mkdir()
    place = file if file == "table4" else tmp_path / file
    assert message in theory("forecast", place, "--columns", columns).refused()
