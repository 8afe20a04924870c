"""The process of `dp`: Ctrl-C at any moment, readers that leave, streams that are closed or full."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from dp_experiments.cli import commands, version

from dp_base.progress import silent
from tests.commands import done, refused
from torture.attempt import SMALL

DP = f'"{sys.executable}" -c "from dp_experiments.cli.main import main; main()"'
BEGUN = "from dp_experiments.cli.main import main; print(flush=True); main()"
PREDICT = "theory predict --alpha 1 --rho 0.5 --phi 1"


def shell(command):
    """Run a line of bash; its status is that of `dp`, in whatever pipe it stands."""
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("seconds", [0.2, 3])
def test_ctrl_c_from_the_first_instruction_on(seconds, tmp_path, own_cache):
    """Whether modules are being loaded, torch among them, or the generator is trained: 130, and one line."""
    command = [sys.executable, "-c", BEGUN, "real", "run", "digits", "--set", "training.steps=10000000"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if "interrupted" in line] == err.splitlines()[-1:]
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["real keys --json", "--help", PREDICT])
def test_a_reader_may_leave(command):
    done = shell(f"{DP} {command} | head -c 1 >/dev/null")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("streams", "status", "err"),
    [(">&-", 0, ""), ("<&- >&- 2>&-", 0, ""), (">/dev/full", 3, "No space left on device"), ("2>/dev/full", 0, "")],
)
def test_streams_that_are_closed_or_full(streams, status, err):
    done = shell(f"{DP} {PREDICT} {streams}")
    assert done.returncode == status
    assert err in done.stderr
    assert len(done.stderr.splitlines()) == bool(err)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("… (os error 28), src")]
)
def test_a_full_disk_is_a_line_that_says_to_make_room(error, patch):
    patch(version, "version_line", Mock(side_effect=error))
    assert "make room there, and give the command again" in refused("--version", status=3)


def test_a_terminal_without_columns_has_the_usual_number(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    assert "Usage: dp theory predict" in done("theory predict --help").out


def test_what_takes_long_shows_its_progress(patch, tmp_path):
    shown = []
    patch(commands, "progress", lambda what, total: shown.append(what) or silent(what, total))
    done("real run", *SMALL, "--out", tmp_path / "run")
    assert {"digits", "drawing examples"} <= {*shown}


def test_a_path_that_is_not_utf8_is_named(patch):
    """It is an argument, or found on the way, such as the current folder."""
    assert refused("real report", "caf\udce9") == r"dp: 'caf\udce9' is not UTF-8; rename the file or folder"
    patch(version, "version_line", lambda: '["/caf\udce9/good"]'.encode())
    assert refused("--version") == r"dp: '/caf\udce9/good' is not UTF-8; rename the file or folder"


def test_nothing_is_written_into_a_file_in_place_of_a_closed_stream(tmp_path):
    """A file that is opened must not get the number of a closed stderr, on which remarks are printed."""
    done = shell(f"cd {tmp_path}; PYTHONPATH={os.pathsep.join(sys.path)} {DP} real init pets 2>&-")
    assert done.returncode == 0
    assert "dp real run pets.toml" not in (tmp_path / "pets.toml").read_text().splitlines()[-1]


def test_the_version_names_the_commit(patch):
    assert re.fullmatch(r"\d+\.\d+\.\d+( \([\w.-]+\))?\n", done("--version").out)

    origin = {"url": "https://example.org/dp", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}
    texts = {"direct_url.json": json.dumps(origin)}
    patch(version.dp_base, "__file__", "/nowhere/dp_base/__init__.py")
    patch(version.metadata, "distribution", lambda name: SimpleNamespace(read_text=texts.get))
    assert version.commit() == "0123456789ab"
    texts.clear()
    assert version.commit() is None
    patch(version.subprocess, "run", lambda *arguments, **options: 1 / 0)  # it must not be asked
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done("--version").out)
