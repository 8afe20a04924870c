"""Pages as a browser shows them, where Chromium is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def opened(file: Path, width: int) -> str:
    """The page's document after its scripts have run, in a window of this width (500 is the narrowest)."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    profile = f"--user-data-dir={file.parent / 'profile'}"
    command = [CHROMIUM, *options, profile, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
