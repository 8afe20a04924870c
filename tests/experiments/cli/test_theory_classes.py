"""`dp theory classes`."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Answer, Theory


@pytest.fixture
def classes(theory: Theory) -> Theory:
    """Runs `dp theory classes ARGUMENTS`, with little accuracy."""

    def run(*arguments: object) -> Answer:
        return theory("classes", *arguments, "--tolerance", "0.05")

    return run


def test_json_has_a_row_for_each_combination(classes: Theory):
    options = ("--kept", "1:4:2", "--rule", "random,entropy", "--lam", "0.1")
    found = json.loads(classes("--classes", "2,3", *options, "--json").done())
    rows = pd.DataFrame(found["table"])
    assert len(rows) == 2 * 2 * 2
    assert set(rows["kept"]) == {1.0, 4.0}
    assert (rows["test_error_se"] <= 0.05 * rows["test_error"]).all()
    assert (rows["lam"] - 0.1).abs().max() < 1e-12


def test_writes_a_table_and_a_picture(classes: Theory, tmp_path: Path):
    out = tmp_path / "new"
    sizes = ("--trials", "3", "--d", "20", "--workers", "1")
    printed = classes("--classes", "3", "--kept", "2", "--rule", "keep-easy", *sizes, "--out", out).done()
    assert {path.name for path in out.iterdir()} == {"classes.csv", "classes.png", "classes.pdf"}
    assert str(out / "classes.png") in printed
    assert {"simulated", "z", "lam"} <= set(pd.read_csv(out / "classes.csv"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--classes 2.5", "must be whole numbers"),
        ("--rule keep-hard@by=luck", "by = 'luck' must be"),
    ],
)
def test_bad_input_is_refused(classes: Theory, arguments: str, message: str):
    assert message in classes(*arguments.split()).refused()
