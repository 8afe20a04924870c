"""`dp theory forecast`: what it says of the fit that all else rests on, and how it refuses."""

import json
from pathlib import Path

import pytest

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
        (("--fix", "floor=x"), "--fix floor=x: VALUE must be a number"),
        (("--where", "strategy"), "--where strategy: must read NAME=VALUE"),
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
        ("table4", "n,accuracy", "names two columns of a CSV file of your own"),
    ],
)
def test_columns_that_hold_no_curve_are_refused(theory: Theory, tmp_path: Path, file: str, columns: str, message: str):
    (tmp_path / "own.csv").write_text("n,accuracy,name\n100,70,a\n200,75,b\n")
    place = file if file == "table4" else tmp_path / file
    assert message in theory("forecast", place, "--columns", columns).refused()
