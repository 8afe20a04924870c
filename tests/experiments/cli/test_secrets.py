"""A secret is shown nowhere: not in what a run leaves, not in what is published, not in messages."""

import sys
from pathlib import Path

import pytest

from dp_base.locks import locked
from dp_real.sections import MASK, Secret, Section
from tests.experiments.conftest import run_dp as dp
from torture.attempt import SMALL

SECRET = "T0KEN-of-the-test"
ALERT = f"false https://hooks.example/{SECRET}"  # a command that fails, so that there is a warning, too


def files_with_it(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_its_value_is_in_nothing_that_a_run_or_a_command_leaves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, settings = tmp_path / "run", ["--set", f"alert={ALERT}"]
    assert dp("real", "run", *SMALL, *settings, "--set", "tracker=tensorboard", "--out", run) == 0
    assert "alert: not sent: CalledProcessError" in caplog.text
    assert f'alert = "{MASK}"' in (run / "config.toml").read_text()
    assert f'alert = "{MASK}"' in (run / "learner" / "README.md").read_text()
    assert dp("real", "export", run, "--format", "hub", "--out", tmp_path / "published") == 0
    assert dp("real", "report", run) == 0
    assert dp("real", "report", run, "--json") == 0
    assert dp("doctor", run) == 0
    assert dp("real", "keys", "digits", *settings, "--json") == 0
    assert dp("real", "plan", "digits", *settings, "--json") in (0, 3)
    monkeypatch.setattr(sys, "argv", ["dp", "real", "run", "digits", *settings])
    with locked(tmp_path / "out"):
        assert dp("real", "run", *SMALL, *settings, "--out", tmp_path / "out") == 2
        assert files_with_it(tmp_path) == []
    said = "".join(capfd.readouterr())
    assert "is being written by process" in said
    assert "(dp real run digits)" in said
    assert SECRET not in said + caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((f"alert={ALERT}", "training.steps=many"), "training.steps = 'many': input should be a valid integer"),
        ((f"alert=['{SECRET}']",), "alert = **********: input should be a valid string"),
        ((f"alert.to='{SECRET}'",), "alert: input should be a valid string"),
        ((f"alert='{SECRET}'", f"alert.to='{SECRET}'"), "alert is a value, not a section"),
        ((f"alert:{SECRET}",), "--set alert…: must read key=value"),
        ((f".alert={SECRET}",), "--set .alert…: must read key=value"),
        ((f"alerts={SECRET}",), "unknown key alerts; did you mean alert?"),
    ],
)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_no_refusal_has_it(settings: tuple[str, ...], said: str, debug: list[str], capsys: pytest.CaptureFixture[str]):
    words = [word for setting in settings for word in ("--set", setting)]
    assert dp("real", "run", "digits", *words, *debug) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert SECRET not in out + err


def test_a_key_is_one_by_its_type():
    class Service(Section):
        password: Secret

    service = Service.model_validate({"password": SECRET})
    assert service.password.get_secret_value() == SECRET
    assert SECRET not in f"{service} {service!r} {service.model_dump()} {service.model_dump_json()}"
    assert service.model_dump(mode="json") == {"password": MASK}
    named = Service.model_validate({"password": "$HOOK"})
    assert named.model_dump(mode="json") == {"password": "$HOOK"}  # the variable's name, which a resumed run needs
