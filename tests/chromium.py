"""Pages as a browser shows them, where Chromium is installed."""

import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
AXE = importlib.util.find_spec("axe_core_python")
needs_axe = pytest.mark.skipif(CHROMIUM is None or AXE is None, reason="chromium or axe-core-python is not installed")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def opened(file, width, *options):
    """The page's document after its scripts have run, in a window of this width (500 is the narrowest)."""
    own = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom", *options]
    profile = f"--user-data-dir={file.parent / 'profile'}"
    command = [CHROMIUM, *own, profile, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def left_by(script, page, folder, width=500, *options):
    """What a script at the end of a page leaves in the data of `root`, the document's element, by name.

    The page is written into the folder, beside the files that it names.
    """
    file = folder / "with-script.html"
    told = f"<script>const root = document.documentElement; {script}</script></body>"
    file.write_text(page.replace("</body>", told))
    root = re.search(r'<html( [\w-]+="[^"]*")*', opened(file, width, *options))[0]
    return {name: html.unescape(value) for name, value in re.findall('data-([a-z]+)="([^"]*)"', root)}


def left_by_frame(script, page, folder, width):
    """The same of a script that runs when a page is shown in a frame, which may be narrower than any window.

    `shown` is the document in the frame.
    """
    onload = html.escape(f"const shown = this.contentDocument; {script}")
    frame = f'<iframe width={width} height=900 srcdoc="{html.escape(page)}" onload="{onload}"></iframe>'
    return left_by("", f"<body>{frame}</body>", folder, max(width + 100, 500))


def barriers(page, folder):
    """What axe-core finds in a page that keeps somebody from using it: a line for each of its rules."""
    axe = (Path(AXE.origin).parent / "axe.min.js").read_text()
    told = "axe.run().then(result => { root.dataset.axe = JSON.stringify(result.violations) })"
    until_told = "--virtual-time-budget=10000"
    rules = json.loads(left_by(f"{axe};\n{told}", page, folder, 500, until_told)["axe"])
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in rules]
