"""`dp theory sweep`: its table and files, how it refuses."""

from pathlib import Path

import pandas as pd
import pytest
from dp_experiments.cli.theory.sweep import picture

import dp_theory
from tests.commands import done, dp, refused, told

SMALL = "--d 16 --trials 2 --n 8,40"


def test_sweep_writes_its_table_and_pictures(tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    _, out, err = dp("theory sweep --rho 0.5:0.9:2 --rule keep-hard,random", SMALL, "--out", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["sweep.csv", "sweep.pdf", "sweep.png"]
    table = pd.read_csv(folder / "sweep.csv")
    assert list(table.columns[:7]) == ["series", "kind", "x", "y", "y_low", "y_high", "n_seeds"]
    assert set(table["rho"]) == {0.5, 0.9}
    assert set(table.query("kind == 'simulated'")["x"]) == {8, 40}
    assert "largest |z|" in err
    assert str(folder / "sweep.csv") in out
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "is not empty" in refused("theory sweep", SMALL, "--out", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_without_a_folder_the_picture_is_drawn_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "runs/sweep.png" in done("theory sweep --rule keep-hard,random", SMALL).out
    assert (tmp_path / "runs" / "sweep.png").stat().st_size > 10_000
    table = dp_theory.sweep([0.5], rules=["keep-hard", "random"], d=16, trials=2, n=[8, 40])
    figure = picture(table, "generated")
    assert figure.get_suptitle() == "alpha = 0.5, rho = 0.9, lam = 0.01, d = 16"
    lines = [[len(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 2] for ax in figure.axes]
    assert [len(of_panel) for of_panel in lines] == [3, 2]  # random rows that are drawn directly are static data


def test_sweep_json_is_one_object_with_winners():
    answer = told("theory sweep --rule keep-hard,entropy@kappa=2", SMALL, "--x kept")
    assert {row["rule"] for row in answer["table"]} == {"keep-all", "keep-hard", "entropy@kappa=2"}
    assert {"winners", "largest_z", "noise_level", "largest_se"} <= set(answer)
