"""SECURITY.md: its lines name tests that exist, and those of its claims that are tested nowhere else."""

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import done
from tests.source import ROOT, modules
from torture.attempt import SMALL

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_tests_that_security_names_exist(file, name):
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_line_of_the_lists_names_a_test():
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("- ")]
    assert len(rows) == len(NAMED) >= 12


def test_no_module_reads_pickles():
    """Nor does any call what reads them unless it is told not to."""
    forbidden = re.compile(
        r"\b(pickle|dill|cloudpickle|shelve|marshal)\b|torch\.load\(|joblib\.load\(|allow_pickle|yaml\.load"
    )
    found = [path for path in modules().values() if forbidden.search(path.read_text())]
    assert not found


def test_a_run_opens_no_connection(tmp_path, own_cache, monkeypatch):
    """Its generator is trained here, too."""
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: asked.append(address))
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
