"""SECURITY.md: its lines name tests that exist, and those of its claims that are tested nowhere else."""

import ast
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.dp_real.data.sets.made import encoded, write_tar
from tests.experiments.conftest import run_dp
from tests.source import modules
from torture.attempt import SMALL

ROOT = Path(__file__).parents[1]
ENDS = (".png", ".cls")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_tests_that_security_names_exist(file: str, name: str):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_line_of_the_lists_names_a_test():
    lines = (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("- ")]
    assert len(rows) == len(NAMED) >= 12


def test_no_module_reads_pickles():
    """Nor does any call what reads them unless it is told not to."""
    forbidden = re.compile(
        r"\b(pickle|dill|cloudpickle|shelve|marshal)\b|torch\.load\(|joblib\.load\(|allow_pickle|yaml\.load"
    )
    found = [path for path in modules().values() if forbidden.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_a_run_opens_no_connection(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Its generator is trained here, too."""
    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: asked.append(address))
    few = ("--set", "generator.training=none", "--set", "practice.additions=1")
    assert run_dp("real", "run", *SMALL, *few, "--out", tmp_path / "run") == 0
    assert run_dp("real", "report", tmp_path / "run") == 0
    assert not asked


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "inner" / "run"))


def test_members_of_archives_are_not_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    image = encoded(Image.new("L", (8, 8)))
    members = {stem + end: image if end == ".png" else b"3" for stem in ("../../evil", "/tmp/evil") for end in ENDS}
    shard = write_tar(run.parent / "set.tar", members)
    assert run_dp("real", "evaluate", run, "--on", f"mine={shard}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sets"][2]["images"] == 2
    assert not list(tmp_path.rglob("evil*"))
    assert not list(Path("/tmp").glob("evil*"))


def test_an_image_that_unpacks_to_gigabytes_is_refused(run: Path, capsys: pytest.CaptureFixture[str]):
    bomb = bytearray(encoded(Image.new("L", (8, 8))))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (folder := run.parent / "set" / "3").mkdir(parents=True)
    (folder / "0.png").write_bytes(bomb)
    assert run_dp("real", "evaluate", run, "--on", f"mine={folder.parent}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "0.png: too large an image" in line


def test_a_file_of_another_format_is_not_opened(run: Path, capsys: pytest.CaptureFixture[str]):
    """Whatever it is called: for PostScript, Pillow would start Ghostscript."""
    (folder := run.parent / "set" / "3").mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "0.jpg", "EPS")
    assert run_dp("real", "evaluate", run, "--on", f"mine={folder.parent}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "0.jpg: not a whole image: its format is not known" in line


def test_workers_import_nothing_from_the_current_folder(tmp_path: Path):
    for module in ("joblib", "select", "dp_experiments"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    dp = Path(sys.executable).with_name("dp")
    sweep = ["theory", "sweep", "--d", "16", "--trials", "2", "--n", "8,40"]
    two = os.environ | {"LOKY_MAX_CPU_COUNT": "2"}
    done = subprocess.run([dp, *sweep], cwd=tmp_path, env=two, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()
