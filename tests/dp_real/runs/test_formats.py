"""Files that a run reads again state their format, and those of another number are refused in one line."""

import json
import shutil
from collections.abc import Callable
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


def rewrite_state(run: Path, change: Callable[[dict], object]) -> None:
    """Change the latest checkpoint of a run that is not finished any more."""
    (run / "result.json").unlink(missing_ok=True)
    (latest,) = (run / "checkpoints").glob("latest-*")
    state = json.loads((latest / "state.json").read_text())
    change(state)
    (latest / "state.json").write_text(json.dumps(state))
    seal(latest)


def reword(file: Path, old: str, new: str) -> None:
    assert file.read_text().startswith(old)
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "command", "said"),
    [
        (
            lambda run: reword(run / "config.toml", "format = 1\n", "format = 7\n"),
            "report",
            "config.toml has format 7, and this version of dp reads format 1",
        ),
        (
            lambda run: rewrite_state(run, lambda state: state.update(format=2)),
            "resume",
            "state.json has format 2, and this version of dp reads format 1",
        ),
        (lambda run: rewrite_state(run, lambda state: state.pop("format")), "resume", "state.json has no format"),
    ],
)
def test_another_format_is_refused(
    run: Path,
    change: Callable[[Path], object],
    command: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(run.parent)
    change(run)
    capsys.readouterr()
    assert dp("real", command, run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_what_lacks_keys_that_have_a_default_goes_on(run: Path):
    """As it was written before there were those keys: a format's number need not rise for a new one."""
    older = load_config(run / "config.toml").model_dump(mode="json", exclude_defaults=True)
    assert older["sampling"].keys() < SamplingConfig.model_fields.keys()
    (run / "config.toml").write_text(tomli_w.dumps(older))  # a user's has no number either

    def forget(state: dict) -> None:
        del state["training_flops"], state["costs"]["forwards"]
        state["inputs"] = {"config": digest(run / "config.toml")}

    rewrite_state(run, forget)
    assert dp("real", "resume", run) == 0
