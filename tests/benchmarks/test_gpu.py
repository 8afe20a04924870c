"""`python -m benchmarks.gpu`, rehearsed on the CPU with tiny networks."""

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.rows import ERROR, FAILED, LEFT_OUT, MEASURED, NO_MEMORY, PASSED, Measured, Row, Table

ROOT = Path(__file__).parents[2]
WITHOUT_ARROW = """
import runpy, sys
sys.modules["pyarrow"] = None
sys.argv[0] = "gpu"
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_ARROW, "--device", "cpu", "--tiny", "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_some_rows_without_arrow(tmp_path: Path):
    out = tmp_path / "new" / "gpu.csv"
    done = run(out, "--only", "matmul bf16", "SD-1.5 bf16 batch 2", "checkpoint", "process group")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = read(out)
    assert {line["verdict"] for line in lines} == {MEASURED, PASSED}
    drawn = [line["row"] for line in lines if line["quantity"] == "images/s"]
    assert drawn[:4] == [f"SD-1.5 bf16 batch 2 {way}" for way in ("plain", "diffusers", "unet full", "x0 tiny")]
    assert all(float(line["value"]) > 0 for line in lines if line["quantity"] == "images/s")
    assert "tensors that differ" in done.stdout


@pytest.mark.slow
def test_all_rows(tmp_path: Path):
    done = run(tmp_path / "gpu.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line["verdict"] for line in read(tmp_path / "gpu.csv")} == {MEASURED, PASSED}


def test_a_name_that_no_row_has(tmp_path: Path):
    done = run(tmp_path / "gpu.csv", "--only", "nonsense")
    assert done.returncode == 1
    assert "no row has nonsense in its name; they are:\nmatmul bf16" in done.stderr
    assert not (tmp_path / "gpu.csv").exists()


def good() -> Iterator[Measured]:
    yield Measured("speed", 2.0, "images/s")
    yield Measured("difference", 0.1, at_most=0.2)


def bad() -> Iterator[Measured]:
    yield Measured("difference", float("nan"), at_most=0.2)


def broken() -> Iterator[Measured]:
    yield Measured("before", 1.0)
    raise ValueError("what went wrong\nand more")


def full() -> Iterator[Measured]:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    yield


def slow() -> Iterator[Measured]:
    time.sleep(5)
    yield Measured("never", 1.0)


def test_a_row_that_fails_is_a_row(tmp_path: Path):
    table = Table(tmp_path / "gpu.csv", minutes=1)
    table.run([Row(work.__name__, 0.3, work) for work in (bad, broken, full, slow, good)])
    found = [(line["row"], line["verdict"], line["error"]) for line in read(tmp_path / "gpu.csv")]
    assert found == [
        ("bad", FAILED, ""),
        ("broken", MEASURED, ""),
        ("broken", ERROR, "ValueError: what went wrong"),
        ("full", NO_MEMORY, "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB"),
        ("slow", ERROR, "NoTime: it took longer than 0.3 s"),
        ("good", MEASURED, ""),
        ("good", PASSED, ""),
    ]
    assert table.failed() == ["bad", "broken", "slow"]


def test_when_no_time_is_left_rows_are_left_out(tmp_path: Path):
    table = Table(tmp_path / "gpu.csv", minutes=0)
    table.run([Row("good", 1, good)])
    assert [line["verdict"] for line in read(tmp_path / "gpu.csv")] == [LEFT_OUT]
    assert table.left_out() == ["good"]
    assert table.failed() == []
