"""`dp figures compare`: what lies beside what, and what each point is worth in static samples."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.comparing.compare import Comparison
from dp_experiments.paper.beside import laid_out, picture, ratios
from dp_experiments.presets.presets import load_preset
from dp_experiments.presets.reported.audit import data_equivalence

from tests.experiments.conftest import run_dp as dp


def comparison(folder: Path, accuracies: dict[str, tuple[float, ...]]) -> Path:
    """What a comparison leaves, as far as it is read here. accuracies: of each arm ARM-SIZE, one for each seed."""
    rows = []
    for arm, values in accuracies.items():
        size = int(arm.rpartition("-")[2])
        spent = {"samples_generated": size, "pool_size": size, "generation_flops": 1.0, "training_flops": 1.0}
        seconds = {"generation_seconds": 1.0, "training_seconds": 1.0}
        for seed, value in enumerate(values):
            reached = {"test_accuracy": value, "val_accuracy": value}
            rows.append({"arm": arm, "split": 0, "seed": seed} | spent | seconds | reached)
    runs = pd.DataFrame(rows)
    folder.mkdir()
    Comparison(folder).write(runs.assign(test_examples=100, sets=[[]] * len(runs)), "static-100")
    return folder


@pytest.fixture
def arms(tmp_path: Path) -> Path:
    return comparison(
        tmp_path / "arms",
        {
            "static-100": (0.5, 0.51),
            "static-1000": (0.7, 0.71),
            "practice-100": (0.6, 0.61),
            "practice-50": (0.8, 0.81),
        },
    )


def a_run(folder: Path, **result: float) -> Path:
    """What a complete run leaves, as far as it is read here."""
    folder.mkdir()
    (folder / "config.toml").write_text(load_preset("digits").to_toml())
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_the_papers_tables_give_the_ratios_of_the_audit():
    found = ratios(laid_out(["table4", "table5"])).set_index(["baseline", "x"])["ratio"]
    audited = data_equivalence().dropna(subset="ratio")
    names = audited["dataset"].map({"ImageNet-100": "table4: static", "ImageNet-1k": "table5: static"})
    for name, size, ratio in zip(names, audited["total"], audited["ratio"], strict=True):
        assert found[name, size] == pytest.approx(ratio)


def test_a_ratio_has_an_interval_from_the_errors_of_both(arms: Path):
    """Half of the way in accuracy is half of the way in the logarithm of the size: 316 of 100."""
    found = ratios(laid_out([str(arms)])).set_index("x")
    rows = found.to_dict("index")
    middle = rows[100]
    beyond = rows[50]
    assert middle["baseline"] == "arms: static"
    assert middle["ratio"] == pytest.approx(10**0.5)
    # One standard error is half a point, that of the difference .707, and Student's quantile for two seeds is 12.7.
    half = 12.706 * 0.5 * 2**0.5 / 20  # of the way
    assert middle["ratio_low"] == pytest.approx(10 ** (0.5 - half), rel=1e-3)
    assert middle["ratio_high"] == pytest.approx(10 ** (0.5 + half), rel=1e-3)
    assert (beyond["bound"], beyond["ratio"], beyond["ratio_high"]) == (">", 20, np.inf)


def test_what_has_no_static_data_is_held_against_that_of_the_others(arms: Path, tmp_path: Path):
    single = a_run(
        tmp_path / "mine",
        test_accuracy=0.605,
        samples_generated=200,
        pool_size=200,
        generation_flops=1.0,
        training_flops=1.0,
        generation_seconds=1.0,
        training_seconds=1.0,
    )
    rows = ratios(laid_out([str(single), str(arms)])).to_dict("records")
    (found,) = [row for row in rows if row["series"] == "mine"]
    assert found["baseline"] == "arms: static"
    assert found["ratio"] == pytest.approx(10**0.5 / 2)
    assert np.isnan(found["ratio_low"])  # a single run


def test_a_sweep_is_laid_beside_them_as_accuracy(arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep = tmp_path / "sweep"
    small = ("--n", "100,400", "--d", 50, "--trials", 4, "--rho", "0.5,0.9", "--rule", "keep-hard")
    assert dp("theory", "sweep", *small, "--out", sweep) == 0
    capsys.readouterr()
    assert dp("figures", "compare", arms, sweep, "table4", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "sweep: direct keep-hard, rho 0.9" in printed
    assert str(tmp_path / "out" / "compare.png") in printed
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    own = pd.read_csv(sweep / "sweep.csv").query("series == 'static' and kind == 'simulated' and rho == 0.9")
    there = table.query("series == 'sweep: static, rho 0.9' and kind == 'simulated'")
    np.testing.assert_allclose(there["y"], 100 * (1 - own["y"]))
    assert set(table["kind"]) == {"predicted", "simulated", "measured", "reported"}
    (legend,) = picture(table).legends
    assert len(legend.get_texts()) == table["series"].nunique() + 4


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["table1"], "table1: nothing to compare; name a run, a comparison, a sweep"),
        (["table4", "table4"], "two of what is compared are called table4"),
        (["{file}"], "lacks the columns"),
        (["table4", "--set", "rho=1"], "takes what it compares, and --out alone"),
        (["{unfinished}"], "is not finished; dp real resume"),
        (["{untested}"], "has no test accuracy"),
    ],
)
def test_what_cannot_be_compared_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sources: list[str], message: str
):
    for name in ("empty", "unfinished"):
        (tmp_path / name).mkdir()
    (tmp_path / "unfinished" / "config.toml").write_text(load_preset("digits").to_toml())
    (tmp_path / "file").write_text("a,b\n1,2\n")
    a_run(tmp_path / "untested", val_accuracy=0.5)
    places = {name: tmp_path / name for name in ("empty", "file", "unfinished", "untested")}
    out = tmp_path / "out"
    assert dp("figures", "compare", *(source.format(**places) for source in sources), "--out", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not out.exists()
