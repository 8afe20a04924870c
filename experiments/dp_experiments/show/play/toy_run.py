"""`python -m dp_experiments.show.play.toy_run` writes runs/toy.csv by the page's own script in Chromium."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

import dp_base
from dp_base.errors import MissingError
from dp_base.files import write_text
from dp_experiments.show.play.page import page

COLUMNS = ("arm", "samples", "what", "x", "y", "value")
"""what: an old or a new sample at (x, y) of class `value`; the learner's probability of class 1; an accuracy; the true
boundary; the gain over seeds, in points of accuracy, with its standard error."""


def page_of_run() -> str:
    """Return the page, with a script that writes a run of its toy into the document."""
    script = (Path(__file__).parent / "toy_run.js").read_text(encoding="utf-8")
    return page().replace("</body>", f"<script>{script}</script></body>")


def table_of(document: str) -> pd.DataFrame:
    """The rows that the page's script wrote into `document`."""
    match = re.search(r'data-run="([^"]*)"', document)
    if match is None:
        raise ValueError("the page's script has written nothing")
    return pd.DataFrame(json.loads(html.unescape(match.group(1))), columns=list(COLUMNS))


def main() -> None:
    """Write the table."""
    browser = shutil.which("chromium")
    if browser is None:
        raise MissingError("the toy is run by Chromium, which is not installed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "toy.html"
        file.write_text(page_of_run(), encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={folder}/profile"]
        done = subprocess.run([browser, *options, file.as_uri()], capture_output=True, text=True, check=True)
    made = subprocess.run([browser, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    head = f"# made: version {dp_base.__version__}; {made}\n"
    write_text(Path(__file__).parent / "runs" / "toy.csv", head + table_of(done.stdout).to_csv(index=False))


if __name__ == "__main__":
    main()
