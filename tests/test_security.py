"""The claims of SECURITY.md that are tested nowhere else."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.commands import done
from tests.source import modules
from torture.attempt import SMALL


def test_no_module_reads_pickles():
    """Nor does any call what reads them unless it is told not to."""
    forbidden = re.compile(
        r"\b(pickle|dill|cloudpickle|shelve|marshal)\b|torch\.load\(|joblib\.load\(|allow_pickle|yaml\.load"
    )
    found = [path for path in modules().values() if forbidden.search(path.read_text())]
    assert not found


def test_a_run_opens_no_connection(tmp_path, own_cache, patch):
    """Its generator is trained here, too."""
    asked = []
    patch(socket.socket, "connect", lambda self, address: asked.append(address))
    patch(socket, "getaddrinfo", lambda *address, **options: asked.append(address))
    few = ("--set", "generator.training=none", "--set", "practice.additions=1")
    done("real run", *SMALL, *few, "--out", tmp_path / "run")
    done("real report", tmp_path / "run")
    assert not asked


def test_workers_import_nothing_from_the_current_folder(tmp_path):
    for module in ("joblib", "select", "dp_experiments"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    dp = Path(sys.executable).with_name("dp")
    sweep = ["theory", "sweep", "--d", "16", "--trials", "2", "--n", "8,40"]
    two = os.environ | {"LOKY_MAX_CPU_COUNT": "2"}
    swept = subprocess.run([dp, *sweep], cwd=tmp_path, env=two, capture_output=True, text=True, timeout=120)
    assert swept.returncode == 0, swept.stderr
    assert not (tmp_path / "executed").exists()
