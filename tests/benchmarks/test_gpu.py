"""`python -m benchmarks.gpu`, rehearsed on the CPU with tiny networks."""

import csv
import subprocess
import sys
import time

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Found, Row, Table
from tests.source import ROOT

WITHOUT_TABLES = """
import runpy, sys
for name in ("pyarrow", "pandas", "datasets"):
    sys.modules[name] = None
sys.argv[0] = "gpu"
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_all_rows_without_the_packages_of_tables(tmp_path):
    out = tmp_path / "new" / "gpu.csv"
    command = [sys.executable, "-c", WITHOUT_TABLES, "--device", "cpu", "--tiny", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = read(out)
    assert {line["verdict"] for line in lines} == {"measured", "passed"}
    drawn = [line["row"] for line in lines if line["quantity"] == "images/s"]
    assert drawn[:3] == ["imagenet100, plain", "imagenet100, guided", "ViT step"]  # what matters most comes first
    hours = {line["quantity"] for line in lines if line["row"] == "hours of imagenet100"}
    assert hours >= {"drawing, measured", "training, measured"}


def test_packages_that_are_missing_are_named_with_the_remedy(patch):
    patch(gpu, "NEEDED", (*gpu.NEEDED, "nobodys_package"))
    with pytest.raises(SystemExit, match=r"missing: nobodys_package; .* --wheels 3\.\d+ fetches them"):
        gpu.unpack_wheels()


def row(work):
    return Row(work.__name__, 0.3, work)


def test_a_row_that_fails_is_a_row(tmp_path):
    @row
    def bad():
        yield Found("difference", float("nan"), at_most=0.2)

    @row
    def broken():
        yield Found("before", 1.0)
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    @row
    def slow():
        time.sleep(5)
        yield Found("never", 1.0)

    @row
    def good():
        yield Found("speed", 2.0, "images/s")
        yield Found("difference", 0.1, at_most=0.2)

    table = Table(tmp_path / "gpu.csv", minutes=1)
    table.run([bad, broken, slow, good])
    said = [f"{line['row']}: {line['verdict']} {line['error']}" for line in read(tmp_path / "gpu.csv")]
    assert said == [
        "bad: FAILED ",
        "broken: measured ",
        "broken: ERROR OutOfMemoryError: CUDA out of memory",
        "slow: ERROR NoTime: it took longer than 0.3 s",
        "good: measured ",
        "good: passed ",
    ]
    assert table.bad == ["bad", "broken", "slow"]
    Table(tmp_path / "gpu.csv", minutes=0).run([good])
    assert [line["verdict"] for line in read(tmp_path / "gpu.csv")] == ["left out"]
