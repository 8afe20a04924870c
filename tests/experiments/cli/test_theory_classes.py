"""`dp theory classes`, and the figure of the same name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dp_experiments.paper.theory import fig_classes as figure

from dp_theory import classes_curves
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
        ("--rule keep-hard@by=luck", "by = 'luck' must be"),
    ],
)
def test_bad_input_is_refused(theory: Theory, arguments: str, message: str):
    assert message in theory("classes", *arguments.split()).refused()


def test_the_figure_holds_ratios_to_random_rows(monkeypatch: pytest.MonkeyPatch):
    def quicker(counts: Sequence[int], *, kept: Sequence[float], tolerance: float, **options: Any) -> pd.DataFrame:
        return classes_curves(counts[:1], kept=kept[-1:], tolerance=20 * tolerance, **options)

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
