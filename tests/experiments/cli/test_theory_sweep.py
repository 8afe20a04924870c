"""`dp theory sweep`: its table and files, how it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Theory

SMALL = ("--d", 16, "--trials", 2, "--n", "8,40")


def test_sweep_writes_its_table_and_pictures(theory: Theory, tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    _, out, err = theory("sweep", "--rho", "0.5:0.9:2", "--rule", "keep-hard,random", *SMALL, "--out", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["sweep.csv", "sweep.pdf", "sweep.png"]
    table = pd.read_csv(folder / "sweep.csv")
    assert list(table.columns[:7]) == ["series", "kind", "x", "y", "y_low", "y_high", "n_seeds"]
    assert set(table["rho"]) == {0.5, 0.9}
    assert set(table.query("kind == 'simulated'")["x"]) == {8, 40}
    assert "largest |z|" in err
    assert str(folder / "sweep.csv") in out
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "is not empty" in theory("sweep", *SMALL, "--out", folder).refused()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_sweep_json_is_one_object_with_winners(theory: Theory):
    answer = json.loads(theory("sweep", "--rule", "keep-hard,entropy@kappa=2", *SMALL, "--x", "kept", "--json").done())
    assert {row["rule"] for row in answer["table"]} == {"keep-all", "keep-hard", "entropy@kappa=2"}
    assert {"winners", "largest_z", "noise_level", "largest_se"} <= set(answer)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--lam", "0.1,,1"), "lam = 0.1,,1: must be a value"),
        (("--lam", "0:1:3"), "lam = 0:1:3: must start and stop above 0"),
        (("--rule", "keep-hard,best"), "unknown rule 'best'"),
        (("--trials", 10**9), "hours: give fewer --n or --trials"),
    ],
)
def test_mistakes_get_one_line_and_leave_no_folder(
    theory: Theory, arguments: tuple[object, ...], said: str, tmp_path: Path
):
    small = () if "--trials" in arguments else SMALL
    assert said in theory("sweep", *small, *arguments, "--out", tmp_path / "new").refused()
    assert not (tmp_path / "new").exists()
