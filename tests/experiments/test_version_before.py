"""What an earlier version left is still read: tests/fixtures/VERSION/run, made by that version and never again."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dp_real import Run
from tests.experiments.conftest import run_dp as dp

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, cache: None) -> Path:
    """A copy of the run of a version, since some commands write into it."""
    return Path(shutil.copytree(FIXTURES / request.param / "run", tmp_path / "run"))


def test_a_run_of_an_earlier_version_is_read(folder: Path):
    run = Run(folder)
    assert run.complete
    assert run.config.samples == len(run.pool) == run.result["pool_size"] == 30
    assert run.metrics["step"].iloc[-1] == run.result["steps"]
    assert run.rounds["count"].tolist() == [20, 10]
    assert [checkpoint.state.rounds for checkpoint in run.checkpoints] == [1]
    example, label = run.pool[29]
    logits = run.learner().logits(example[None])
    assert (logits.shape, label in range(10)) == ((1, 10), True)
    assert run.learner(run.checkpoints[0]).logits(example[None]).isfinite().all()


def test_commands_take_a_run_of_an_earlier_version(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = json.loads((folder / "result.json").read_text())
    assert dp("real", "resume", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == before
    assert dp("real", "report", folder) == 0
    assert dp("real", "export", folder, "--out", tmp_path / "out", "--format", "parquet") == 0
    assert pd.read_parquet(tmp_path / "out" / "train.parquet")["row"].tolist() == list(range(30))
    capsys.readouterr()
    assert dp("real", "evaluate", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["sets"][1]["accuracy"] == pytest.approx(before["test_accuracy"])


def test_an_unfinished_run_of_an_earlier_version_goes_on(folder: Path):
    before = json.loads((folder / "result.json").read_text())
    shutil.rmtree(folder / "learner")
    (folder / "result.json").unlink()
    assert dp("real", "resume", folder) == 0
    after = json.loads((folder / "result.json").read_text())
    same = ("steps", "pool_size", "samples_seen", "samples_generated", "additions")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
