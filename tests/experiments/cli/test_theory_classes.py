"""`dp theory classes`, and the figure of the same name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dp_experiments.paper.theory import fig_classes as figure

from dp_theory import classes_curves
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


def test_the_figure_holds_ratios_to_random_rows(monkeypatch: pytest.MonkeyPatch):
    def quicker(counts: Sequence[int], *, kept: Sequence[float], tolerance: float, **options: Any) -> pd.DataFrame:
        return classes_curves(counts[:1], kept=kept[-1:], tolerance=5 * tolerance, **options)

    monkeypatch.setattr(figure, "CHECKED", (4.0,))
    monkeypatch.setattr(figure, "D", 30)
    monkeypatch.setattr(figure, "classes_curves", quicker)
    monkeypatch.setattr(figure, "CLASSES", (2,))
    table = figure.compute(quick=True)
    assert list(table.groupby("panel")["kind"].unique().map(list)) == [["predicted", "simulated"]] * 2
    last = table[table["kind"] == "predicted"].set_index("panel")["y"]
    assert last["keep-hard"] < 0.7 < 2 < last["keep-easy"]
    assert len(figure.draw(table).axes) == 2
    assert "with 2 classes" in figure.caption(table)
