"""`dp figures compare`: what lies beside what."""

import numpy as np
import pandas as pd
from dp_experiments.compare.compare import Comparison

from tests.commands import done, refused
from tests.experiments.compare.made import runs_of
from tests.experiments.conftest import left_by_run


def test_a_comparison_a_sweep_and_a_table_on_one_plot(tmp_path):
    sweep = tmp_path / "sweep"
    options = "--n 100,400 --d 50 --trials 4 --rho 0.5,0.9 --rule keep-hard"
    done("theory sweep", options, "--out", sweep)
    (arms := tmp_path / "arms").mkdir()
    reached = {"static-100": (0.5, 0.51), "static-1000": (0.7, 0.71), "practice-100": (0.6, 0.61)}
    Comparison(arms).write(runs_of(reached), "static-100")
    out = tmp_path / "out"
    assert str(out / "compare.png") in done("figures compare", arms, sweep, "table4 --out", out).out
    table = pd.read_csv(out / "compare.csv")
    assert "sweep: direct keep-hard, rho 0.9" in set(table["series"])
    assert table.query("series == 'arms: static'")["y"].tolist() == [50.5, 70.5]
    own = pd.read_csv(sweep / "sweep.csv").query("series == 'static' and kind == 'simulated' and rho == 0.9")
    there = table.query("series == 'sweep: static, rho 0.9' and kind == 'simulated'")
    np.testing.assert_allclose(there["y"], 100 * (1 - own["y"]))
    assert set(table["kind"]) == {"predicted", "simulated", "measured", "reported"}


def test_what_cannot_be_compared_is_told(tmp_path):
    (tmp_path / "file").write_text("a,b\n1,2\n")
    left_by_run(tmp_path / "unfinished")
    left_by_run(tmp_path / "untested", val_accuracy=0.5)
    for name, said in (
        ("file", "lacks the columns"),
        ("unfinished", "is not finished; dp real resume"),
        ("untested", "has no test accuracy"),
    ):
        assert said in refused("figures compare", tmp_path / name, "--out", tmp_path / "out")
    left_by_run(tmp_path / "tested", test_accuracy=0.5)
    said = refused("figures compare table4", tmp_path / "tested", "--out", tmp_path / "out")
    assert "table4 has 100 classes, tested has 10 classes: accuracies of different tasks share no axis" in said
    assert not (tmp_path / "out").exists()
    for wanted in ("table1", "compare table4"):
        assert "file cannot be written" in refused("figures", wanted, "--out", tmp_path / "file")
        assert "fdinfo cannot be written" in refused("figures", wanted, "--out /proc/self/fdinfo")
