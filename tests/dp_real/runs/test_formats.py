"""Files that a run reads again state their format, and those of another number are refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import tomli_w

from dp_base.checksums import digest, seal
from dp_real.config import load_config
from dp_real.sections import SamplingConfig
from tests.experiments.conftest import run_dp as dp


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def refused(run: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says, in one line, of a run that it does not read."""
    capsys.readouterr()
    assert dp("real", *words[:1], run, *words[1:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def renumber(file: Path, number: int | None) -> None:
    """Give a JSON file another format number; None: none."""
    record = json.loads(file.read_text())
    del record["format"]
    file.write_text(json.dumps(record if number is None else record | {"format": number}))


def test_a_configuration_of_another_format(run: Path, capsys: pytest.CaptureFixture[str]):
    file = run / "config.toml"
    assert file.read_text().startswith("format = 1\n")
    file.write_text(file.read_text().replace("format = 1", "format = 7"))
    assert f"{file} has format 7, and this version of dp reads format 1" in refused(run, ("report",), capsys)


def test_a_configuration_of_a_user_needs_no_number(run: Path):
    file = run / "config.toml"
    file.write_text(file.read_text().replace("format = 1\n", ""))
    assert dp("real", "report", run) == 0


def test_what_lacks_keys_that_have_a_default_goes_on(run: Path):
    """As it was written before there were those keys: a format's number need not rise for a new one."""
    config = load_config(run / "config.toml")
    older = config.model_dump(mode="json", exclude_defaults=True)
    assert older["sampling"].keys() < SamplingConfig.model_fields.keys()
    (run / "config.toml").write_text(tomli_w.dumps({"format": 1} | older))
    (run / "result.json").unlink()
    (latest,) = (run / "checkpoints").glob("latest-*")
    state = json.loads((latest / "state.json").read_text())
    del state["training_flops"], state["costs"]["forwards"], state["logs"]
    state["inputs"] = {"config": digest(run / "config.toml")}
    (latest / "state.json").write_text(json.dumps(state))
    seal(latest)
    assert dp("real", "resume", run) == 0


@pytest.mark.parametrize(("number", "found"), [(0, "format 0"), (2, "format 2"), (None, "no format number")])
def test_a_checkpoint_of_another_format(run: Path, number: int | None, found: str, capsys: pytest.CaptureFixture[str]):
    (run / "result.json").unlink()
    (latest,) = (run / "checkpoints").glob("latest-*")
    renumber(latest / "state.json", number)
    seal(latest)
    said = refused(run, ("resume",), capsys)
    assert f"state.json has {found}, and this version of dp reads format 1" in said


def test_a_pool_of_another_format(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    renumber(run / "pool" / "checksums.json", 3)
    said = refused(run, ("export", "--out", str(tmp_path / "out")), capsys)
    assert "pool/checksums.json has format 3, and this version of dp reads format 1" in said
