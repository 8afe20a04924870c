"""`dp theory classes`."""

from pathlib import Path

import pandas as pd

from tests.commands import told


def test_a_row_for_each_combination_in_a_table_and_a_picture(tmp_path: Path):
    out = tmp_path / "new"
    options = "--classes 2,3 --kept 1:4:2 --rule keep-easy --lam 0.1 --trials 3 --tolerance 0.05"
    found = told("theory classes", options, "--out", out)
    rows = pd.DataFrame(found["table"])
    assert list(rows["kept"]) == [1.0, 4.0] * 2
    assert {path.name for path in out.iterdir()} == {"classes.csv", "classes.png", "classes.pdf"}
    assert {"simulated", "z", "lam"} <= set(pd.read_csv(out / "classes.csv"))
