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


def barriers(page, folder, width=500):
    """What axe-core finds in a page that keeps somebody from using it: a line for each of its rules.

    The page is written into the folder, beside the files that it names.
    """
    axe = (Path(AXE.origin).parent / "axe.min.js").read_text()
    told = "result => { document.documentElement.dataset.axe = JSON.stringify(result.violations) }"
    file = folder / "with-axe.html"
    scripts = f"<script>{axe}</script><script>axe.run().then({told})</script>"
    file.write_text(page.replace("</body>", f"{scripts}</body>"))
    document = opened(file, width, "--virtual-time-budget=10000")  # until what it promised is there
    found = re.search(r'data-axe="([^"]*)"', document)
    assert found is not None, "axe-core did not end"
    rules = json.loads(html.unescape(found[1]))
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in rules]


def framed(page, width, told):
    """A page that shows another in a frame of this width, which may be less than a window's least.

    told: a script that runs when it is shown. `shown` is the document in the frame.
    """
    onload = html.escape(f"const shown = this.contentDocument; {told}")
    return f'<body><iframe width={width} height=900 srcdoc="{html.escape(page)}" onload="{onload}"></iframe></body>'
