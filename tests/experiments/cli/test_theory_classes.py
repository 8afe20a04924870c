"""`dp theory classes`."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Theory


def test_a_row_for_each_combination_in_a_table_and_a_picture(theory: Theory, tmp_path: Path):
    out = tmp_path / "new"
    options = (
        "--classes",
        "2,3",
        "--kept",
        "1:4:2",
        "--rule",
        "keep-easy",
        "--lam",
        0.1,
        "--trials",
        3,
        "--tolerance",
        0.05,
    )
    found = json.loads(theory("classes", *options, "--out", out, "--json").done())
    rows = pd.DataFrame(found["table"])
    assert list(rows["kept"]) == [1.0, 4.0] * 2
    assert {path.name for path in out.iterdir()} == {"classes.csv", "classes.png", "classes.pdf"}
    assert {"simulated", "z", "lam"} <= set(pd.read_csv(out / "classes.csv"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--classes 2.5", "must be whole numbers"),
        ("--rule keep-hard@by=luck", "rule keep-hard has no by"),
    ],
)
def test_bad_input_is_refused(theory: Theory, arguments: str, message: str):
    assert message in theory("classes", *arguments.split()).refused()
