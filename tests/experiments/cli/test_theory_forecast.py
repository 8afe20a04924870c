"""`dp theory forecast`: what it says of the fit that all else rests on, and how it refuses."""

from pathlib import Path

import pytest

from tests.commands import done, dp, refused, told

CURVE = """strategy,kept,error,se
static,100,.3,.01
static,200,.25,.01
static,400,.19,.01
static,800,.12,.01
"""
KNOWN = "--fix floor=0 --fix flip=0 --fix ridge=.01"


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """A file with a measured curve."""
    file = tmp_path / "curve.csv"
    file.write_text(CURVE)
    return file


def test_forecast_says_how_well_the_theory_fits(curve: Path):
    said = dp("theory forecast", curve, KNOWN).err.splitlines()[-1]
    assert "of 3 degrees of freedom" in said
    assert dp("theory forecast", curve, "--target 0.08", KNOWN).err.splitlines()[-1] == said
    answer = told("theory forecast", curve, "--target 0.08", KNOWN)
    assert set(answer) == {"parameters", "forecast", "chi_square", "freedom", "excess"}
    assert f"chi-square {answer['chi_square']:.3g} of {answer['freedom']} degrees of freedom" in said


def test_two_columns_of_ones_own_are_a_curve_of_static_data(curve: Path):
    own = curve.with_name("own.csv")
    own.write_text("n,accuracy,error rate,se\n100,.7,.3,.01\n200,.75,.25,.01\n400,.81,.19,.01\n800,.88,.12,.01\n")
    fitted = done("theory forecast", curve, KNOWN).out
    assert done("theory forecast", own, "--columns n,accuracy", KNOWN).out == fitted
    assert done("theory forecast", own, "--columns 'n, error rate'", KNOWN).out == fitted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--columns n,accurcy", "has no column accurcy: one of n, accuracy, name"),
        ("--columns n,accuracy", "accuracy must lie between 0 and 1, as a share and not in percent"),
        ("--columns n,name", "the column name holds something else than numbers"),
        ("--fix floor=x", "--fix floor=x: VALUE must be a number"),
        ("--where strategy", "--where strategy: must read NAME=VALUE"),
    ],
)
def test_what_makes_no_curve_is_refused(curve: Path, options: str, message: str):
    if "--columns" in options:
        curve.write_text("n,accuracy,name\n100,70,a\n200,75,b\n")
    assert message in refused("theory forecast", curve, options)
