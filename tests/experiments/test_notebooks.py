"""The notebooks of the docs: short, without stored outputs, and they run from top to bottom."""

import ast
import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Path, kind: str) -> list[str]:
    """The texts of its cells of a kind, `code` or `markdown`."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


@each
def test_it_is_short_has_no_outputs_and_its_links_lead_to_pages(notebook: Path):
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert len(found) <= 10
    assert not any(cell.get("outputs") for cell in found)
    for code in cells(notebook, "code"):
        ast.parse(code)
    for text in cells(notebook, "markdown"):
        for target in text.split("](")[1:]:
            page = notebook.parent / target.split(")")[0]
            assert page.with_suffix(".md").exists() or page.exists(), page


@pytest.mark.slow
@each
def test_it_runs(notebook: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plt, "show", lambda: None)  # without a screen it would warn
    mpl.use("agg")
    scope: dict = {}
    try:
        for code in cells(notebook, "code"):
            exec(code, scope)
        assert len(plt.get_fignums()) == 2
    finally:
        plt.close("all")
    assert capsys.readouterr().out
