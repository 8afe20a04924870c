"""The page to play with: it needs nothing, agrees with dp_theory, and nothing of it is cut off."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.studies.stored import stored_path, stored_runs
from dp_experiments.terminal.lines import records
from dp_experiments.terminal.pages import rendered

import dp_base
from dp_theory import Direct, KeepEasy, KeepHard, Problem, predict
from tests.chromium import CHROMIUM, barriers, left_by, needs_axe, needs_browser
from tests.commands import run_dp
from tests.source import ROOT


def page():
    return rendered("dp_experiments.show.play", "page.html.jinja")


def test_the_page_needs_no_network_and_no_other_file():
    text = page()
    assert not re.search(r"(src|href)\s*=|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_the_command_writes_it_and_shows_it_to_whoever_sits_there(tmp_path, patch):
    shown = []
    patch("webbrowser.open", shown.append)
    file = tmp_path / "a page.html"
    for in_a_terminal, options in ((True, ()), (False, ()), (True, ("--json",))):
        patch("sys.stdout.isatty", lambda answer=in_a_terminal: answer)
        assert run_dp("play", "--out", file, *options) == 0
    assert shown == [file.as_uri()]
    assert file.read_text() == page()


def test_the_page_of_the_docs_is_current():
    assert (ROOT / "docs" / "play.html").read_text() == page(), "dp play --out docs/play.html writes it anew"


def points():
    """200 random points of each rule within the sliders' ranges, with dp_theory's errors."""
    draw = np.random.default_rng(0)
    found = []
    for name, rule in {"hard": KeepHard, "easy": KeepEasy}.items():
        alpha, lam, rows = np.exp(draw.uniform(np.log([0.1, 1e-4, 0.2]), np.log([2.5, 10, 200]), (200, 3))).T
        rho = np.cos(np.radians(draw.uniform(2, 80, 200)))
        error = predict(Problem(Direct(rule(alpha)), rho=rho, phi=1 / rows, lam=lam)).test_error
        columns = {"rule": name, "alpha": alpha, "rho": rho, "lam": lam, "rows": rows, "error": error}
        found += records(pd.DataFrame(columns))
    return found


@needs_browser
def test_the_page_computes_theorem_1_as_dp_theory_does(tmp_path):
    off = "points.map((at) => Math.abs(testError(at.rule, at.alpha, at.rho, at.lam, at.rows) / at.error - 1))"
    script = f"const points = {json.dumps(points())}; root.dataset.off = Math.max(...{off})"
    assert float(left_by(script, page(), tmp_path)["off"]) < 1e-9


@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(tmp_path, width):
    script = "root.dataset.wide = root.scrollWidth > innerWidth; root.dataset.text = document.body.innerText"
    errors = "<script>onerror = (message) => { document.documentElement.dataset.error = message }</script>"
    found = left_by(script, page().replace("<head>", f"<head>{errors}"), tmp_path, width)
    assert "error" not in found
    assert found["wide"] == "false"
    assert "Plain data reaches the last with" in found["text"]
    assert re.search(r"practice: \d+ samples, 9\d", found["text"])


@needs_axe
def test_nothing_keeps_somebody_from_using_it(tmp_path):
    assert not barriers(page(), tmp_path)


def toy_run(folder):
    """A run of the page's toy, which toy_run.js writes into the page's document, as the table that fig1 draws.

    what: an old or a new sample at (x, y) of class `value`; the learner's probability of class 1; an accuracy; the true
    boundary; the gain over seeds, in points of accuracy, with its standard error.
    """
    written = left_by(Path(__file__).with_name("toy_run.js").read_text(), page(), folder, 1280)["run"]
    return pd.DataFrame(json.loads(written), columns=["arm", "samples", "what", "x", "y", "value"])


@needs_browser
def test_the_stored_run_of_the_toy_is_what_the_page_does(tmp_path):
    """To the places that are written, since another browser may round a cosine differently."""
    found = toy_run(tmp_path).replace("", None)
    message = "python -m tests.experiments.show.play.test_page writes it anew"
    pd.testing.assert_frame_equal(found, stored_runs("toy"), check_dtype=False, atol=2e-3, obj=message)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run = toy_run(Path(folder))
    version = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    stored_path("toy").write_text(f"# made: version {dp_base.__version__}; {version}\n" + run.to_csv(index=False))
