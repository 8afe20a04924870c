"""`dp figures compare`: what lies beside what."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.comparing.compare import Comparison
from dp_experiments.paper.beside import laid_out, picture
from dp_experiments.presets.presets import load_preset

from tests.experiments.conftest import run_dp as dp


def comparison(folder: Path) -> Path:
    """What a comparison leaves, as far as it is read here."""
    reached = {"static-100": (0.5, 0.51), "static-1000": (0.7, 0.71), "practice-100": (0.6, 0.61)}
    same = {"generation_flops": 1.0, "training_flops": 1.0, "generation_seconds": 1.0, "training_seconds": 1.0}
    rows = [
        {"arm": arm, "split": 0, "seed": seed, "test_accuracy": value, "val_accuracy": value}
        | dict.fromkeys(("samples_generated", "pool_size"), int(arm.rpartition("-")[2]))
        | same
        for arm, values in reached.items()
        for seed, value in enumerate(values)
    ]
    runs = pd.DataFrame(rows)
    folder.mkdir()
    Comparison(folder).write(runs.assign(test_examples=100, sets=[[]] * len(runs)), "static-100")
    return folder


def a_run(folder: Path, **result: float) -> Path:
    """What a run leaves, as far as it is read here."""
    folder.mkdir()
    (folder / "config.toml").write_text(load_preset("digits").to_toml())
    if result:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_comparison_a_sweep_and_a_table_on_one_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep = tmp_path / "sweep"
    options = "--n 100,400 --d 50 --trials 4 --rho 0.5,0.9 --rule keep-hard"
    assert dp("theory", "sweep", *options.split(), "--out", sweep) == 0
    capsys.readouterr()
    arms = comparison(tmp_path / "arms")
    assert dp("figures", "compare", arms, sweep, "table4", "--out", tmp_path / "out") == 0
    assert str(tmp_path / "out" / "compare.png") in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert "sweep: direct keep-hard, rho 0.9" in set(table["series"])
    assert table.query("series == 'arms: static'")["y"].tolist() == [50.5, 70.5]
    own = pd.read_csv(sweep / "sweep.csv").query("series == 'static' and kind == 'simulated' and rho == 0.9")
    there = table.query("series == 'sweep: static, rho 0.9' and kind == 'simulated'")
    np.testing.assert_allclose(there["y"], 100 * (1 - own["y"]))
    assert set(table["kind"]) == {"predicted", "simulated", "measured", "reported"}
    (legend,) = picture(table).legends
    assert len(legend.get_texts()) == table["series"].nunique() + 4


def test_a_run_is_a_point_by_its_name(tmp_path: Path):
    spent = {"generation_flops": 1.0, "training_flops": 1.0, "generation_seconds": 1.0, "training_seconds": 1.0}
    mine = a_run(tmp_path / "mine", test_accuracy=0.605, samples_generated=200, pool_size=200, **spent)
    (row,) = laid_out([str(mine)]).to_dict("records")
    assert (row["series"], row["x"], row["y"]) == ("mine", 200, 60.5)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["table1"], "table1: nothing to compare; name a run, a comparison, a sweep"),
        (["table4", "table4"], "two of table4, table4 are called the same"),
        (["{file}"], "lacks the columns"),
        (["table4", "--set", "rho=1"], "takes what it compares, and --out alone"),
        (["{unfinished}"], "is not finished; dp real resume"),
        (["{untested}"], "has no test accuracy"),
    ],
)
def test_what_cannot_be_compared_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sources: list[str], message: str
):
    (tmp_path / "file").write_text("a,b\n1,2\n")
    a_run(tmp_path / "unfinished")
    a_run(tmp_path / "untested", val_accuracy=0.5)
    places = {name: tmp_path / name for name in ("file", "unfinished", "untested")}
    assert dp("figures", "compare", *(each.format(**places) for each in sources), "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
