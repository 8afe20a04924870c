"""Alerts: a command or a webhook of the user's is told what happens to a run, and no run ends because of it."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dp_real.alerts import Alerts, alert, alerting
from dp_real.sections import MASK

WRITES = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def test_a_command_gets_a_line_of_json(tmp_path: Path):
    told = tmp_path / "told"
    with alerting(Alerts(f'{sys.executable} -c "{WRITES}" {told}', tmp_path / "run")):
        alert("finish", test_accuracy=0.5)
        alert("stall", message="waiting; $(rm -rf /) `x` 'y'")  # no shell reads it
    alert("finish")
    first, second = map(json.loads, told.read_text().splitlines())
    assert first == {"event": "finish", "run": str(tmp_path / "run"), "test_accuracy": 0.5}
    assert second["message"] == "waiting; $(rm -rf /) `x` 'y'"


def test_a_webhook_gets_it_too(tmp_path: Path):
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        Alerts(f"http://127.0.0.1:{server.server_port}/hook", tmp_path).send("hang", message="gone")
        thread.join()
    assert posted == [{"event": "hang", "run": str(tmp_path), "message": "gone"}]


@pytest.mark.parametrize(
    "target", ["no-such-command --secret", "false", "http://127.0.0.1:9/secret", "http://[", "'open"]
)
def test_an_alert_that_fails_is_remarked_on(target: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Alerts(target, tmp_path).send("finish")
    assert "not sent" in caplog.text
    assert "secret" not in caplog.text


def test_where_alerts_go_is_in_the_environment_or_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert Alerts.of(SecretStr("notify --me"), tmp_path).target == "notify --me"
    assert Alerts.of(SecretStr(""), tmp_path).target == ""
    monkeypatch.setenv("HOOK", "https://a.example")
    assert Alerts.of(SecretStr("$HOOK"), tmp_path).target == "https://a.example"
    assert caplog.text == ""
    monkeypatch.delenv("HOOK")
    assert Alerts.of(SecretStr("$HOOK"), tmp_path).target == ""
    assert "alert goes nowhere: $HOOK is not set" in caplog.text
    assert Alerts.of(SecretStr(MASK), tmp_path).target == ""
    assert "give it again by --set alert=" in caplog.text
